"""The lease on a real Postgres: whole pairs, growing fences, who waits for whom (reliability section 4)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.errors import LeaseLost, OrgHeld, Unavailable
from shared.lease import Held, Holder, Lease, Leases, run_holder, webhook_holder
from shared.services.workspaces import default_workspace
from shared.settings import Settings
from tests.integration.crew import await_that
from tests.integration.world import Office

pytestmark = pytest.mark.rule("LK-1", "LK-2", "P4")


class Table:
    """Orgs and a lease per short transaction, as the engine does it."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.leases = Leases(office.settings)
        self.workspace = default_workspace(office.db)

    def org(self, name: str) -> int:
        return int(
            self.office.value(
                "INSERT INTO org (workspace_id, vendor, external_id, name, data_centre) "
                "VALUES (:w, 'v', :name, :name, 'us') RETURNING id",
                w=self.workspace,
                name=name,
            )
        )

    def run(self, number: int) -> Holder:
        return run_holder(number, 1, self.workspace)

    def take(self, holder: Holder, *orgs: int, joining: bool = False) -> Lease | Held:
        with self.office.db.transaction() as session:
            return self.leases.take(session, orgs, holder, joining=joining)

    def taken(self, holder: Holder, *orgs: int, joining: bool = False) -> Lease:
        lease = self.take(holder, *orgs, joining=joining)
        assert isinstance(lease, Lease), lease
        return lease

    def refused(self, holder: Holder, *orgs: int, joining: bool = False) -> Held:
        held = self.take(holder, *orgs, joining=joining)
        assert isinstance(held, Held), held
        return held

    def release(self, lease: Lease) -> None:
        with self.office.db.transaction() as session:
            self.leases.release(session, lease)

    def renew(self, lease: Lease) -> Lease:
        with self.office.db.transaction() as session:
            return self.leases.renew(session, lease)

    def leave(self, holder: Holder) -> None:
        with self.office.db.transaction() as session:
            self.leases.leave(session, holder.name, self.leases.held(session, holder.name))

    def check(self, lease: Lease, *, pushed: bool = False) -> None:
        with self.office.db.transaction() as session:
            self.leases.check(session, lease, pushed=pushed)

    def may_end(self, lease: Lease) -> bool:
        with self.office.db.transaction() as session:
            return self.leases.may_end(session, lease)

    def older(self, seconds: float, *orgs: int) -> None:
        """As if that time had gone by without a renewal."""
        self.office.sql(
            "UPDATE org_lease SET expires_at = clock_timestamp() - make_interval(secs => :s) WHERE org_id = ANY(:orgs)",
            s=seconds,
            orgs=list(orgs),
        )

    def holders(self) -> dict[int, str | None]:
        return {row["org_id"]: row["holder"] for row in self.office.sql("SELECT org_id, holder FROM org_lease")}

    def open_batch(self, lease: Lease, integration: int, until_s: float = 60.0, name: str = "b") -> None:
        self.office.sql(
            "INSERT INTO open_batch (id, workspace_id, integration_id, fence, lane, until) VALUES "
            "(:name, :w, :i, :f, '1:live:0', clock_timestamp() + make_interval(secs => :s))",
            w=self.workspace,
            i=integration,
            f=lease.fence,
            s=until_s,
            name=name,
        )

    def close_batch(self) -> None:
        self.office.sql("DELETE FROM open_batch")

    def integration(self, left: int, right: int) -> int:
        return int(
            self.office.value(
                "INSERT INTO integration (workspace_id, kind, name, left_org_id, right_org_id) "
                "VALUES (:w, 'fsm_books', 'n', :l, :r) RETURNING id",
                w=self.workspace,
                l=left,
                r=right,
            )
        )


@pytest.fixture
def table(office: Office) -> Table:
    return Table(office)


@pytest.fixture
def pair(table: Table) -> tuple[int, int]:
    return table.org("a"), table.org("b")


# Taking.


def test_racing_takers_get_whole_pairs_without_deadlock_and_fences_grow(table: Table) -> None:
    a, b, c = table.org("a"), table.org("b"), table.org("c")
    pairs = [(a, b), (b, c), (c, a), (b, a)]
    won: list[int] = []
    start = threading.Barrier(len(pairs))

    def race(number: int) -> None:
        holder, dice = table.run(number), random.Random(number)
        start.wait()
        for _ in range(25):
            lease = table.take(holder, *pairs[number])
            if isinstance(lease, Held):
                continue
            won.append(lease.fence)
            mine = [org for org, name in table.holders().items() if name == holder.name]
            assert sorted(mine) == sorted(pairs[number])
            if dice.random() < 0.5:
                table.renew(lease)
            table.check(lease)
            table.release(lease)

    with ThreadPoolExecutor(len(pairs)) as pool:
        for done in [pool.submit(race, number) for number in range(len(pairs))]:
            done.result()
    assert len(won) > len(pairs)
    assert len(set(won)) == len(won), "each taking has a fence of its own"
    log = table.office.sql("SELECT org_id, fence FROM lease_log ORDER BY org_id, taken_at")
    for org in (a, b, c):
        fences = [row["fence"] for row in log if row["org_id"] == org]
        assert fences == sorted(fences)
    open_rows = table.office.value("SELECT count(*) FROM lease_log WHERE released_at IS NULL")
    assert open_rows == 0


@pytest.mark.parametrize("step", ["take", "check", "renew", "release", "may_end"])
def test_every_step_locks_the_rows_in_the_order_of_the_orgs(table: Table, pair: tuple[int, int], step: str) -> None:
    """Where they lie on disk the other way round, a taker and a worker of the run would wait for each other."""
    lease = table.taken(table.run(1), *pair)
    table.open_batch(lease, table.integration(*pair))
    table.office.sql("DELETE FROM org_lease WHERE org_id = :o RETURNING 1", o=pair[0])
    table.office.sql(
        "INSERT INTO org_lease (org_id, workspace_id, holder, kind, integration_id, fence, taken_at, expires_at) "
        "SELECT :o, workspace_id, holder, kind, integration_id, fence, taken_at, expires_at FROM org_lease",
        o=pair[0],
    )
    with table.office.db.engine.connect() as admin:
        admin.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE org_lease"))
    with table.office.db.transaction() as first, ThreadPoolExecutor(1) as pool:
        first.execute(text("SELECT 1 FROM org_lease WHERE org_id = :o FOR UPDATE"), {"o": pair[0]})
        if step == "take":
            behind = pool.submit(table.take, table.run(2), *pair)
        else:
            behind = pool.submit(getattr(table, step), lease)
        await_that(lambda: _waiting(table), "the step waits for the first row")
        # It must not have the second row yet.
        first.execute(text("SELECT 1 FROM org_lease WHERE org_id = :o FOR UPDATE NOWAIT"), {"o": pair[1]})
        first.commit()
        behind.result()


def _waiting(table: Table) -> bool:
    return bool(table.office.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


def test_one_held_org_refuses_both(table: Table) -> None:
    a, b, c = table.org("a"), table.org("b"), table.org("c")
    table.taken(table.run(1), b, c)
    table.refused(table.run(2), a, b)
    assert table.holders()[a] is None


def test_a_refusal_names_the_holder_and_since_when(table: Table, pair: tuple[int, int]) -> None:
    table.taken(table.run(41), *pair)
    taken_at = table.office.value("SELECT taken_at FROM org_lease LIMIT 1")
    error = table.refused(table.run(42), *pair).error()
    assert isinstance(error, OrgHeld)
    assert (error.holder, error.since) == ("run:41", taken_at)
    assert "sync 41" in str(error)
    assert f"{taken_at:%Y-%m-%d %H:%M:%S} UTC" in str(error)


def test_workers_of_one_run_share_its_fence(table: Table, pair: tuple[int, int]) -> None:
    first = table.taken(table.run(1), *pair)
    assert table.taken(table.run(1), *reversed(pair)).fence == first.fence
    assert table.office.value("SELECT count(*) FROM lease_log") == 2


# Ending.


def test_an_expired_lease_is_not_renewed_nor_good_for_results(table: Table, pair: tuple[int, int]) -> None:
    lease = table.taken(table.run(1), *pair)
    table.renew(lease)
    table.older(0.0, *pair)
    with pytest.raises(LeaseLost):
        table.renew(lease)
    with pytest.raises(LeaseLost):
        table.check(lease)


def test_the_grace_keeps_others_out_but_not_its_own_run(table: Table, pair: tuple[int, int]) -> None:
    """A push begun in the last moment may still be on its way: others wait for the push deadline as well."""
    grace_s = table.office.settings.scaled(table.office.settings.push_deadline_s)
    lease = table.taken(table.run(1), *pair)
    table.older(grace_s * 0.3, *pair)
    assert table.refused(table.run(2), *pair).holder == "run:1"
    again = table.taken(table.run(1), *pair)
    assert again.fence > lease.fence
    table.older(grace_s + 0.001, *pair)
    other = table.taken(table.run(2), *pair)
    assert other.fence > again.fence


def test_who_was_taken_over_can_do_nothing_more(table: Table, pair: tuple[int, int]) -> None:
    lease = table.taken(table.run(1), *pair)
    table.older(3600, *pair)
    other = table.taken(table.run(2), *pair)
    for step in (table.renew, table.check):
        with pytest.raises(LeaseLost):
            step(lease)
    table.release(lease)
    table.check(other)
    assert set(table.holders().values()) == {"run:2"}
    ends = table.office.sql("SELECT fence, released_at IS NULL AS on FROM lease_log ORDER BY fence")
    assert [(row["fence"], row["on"]) for row in ends] == [(lease.fence, False)] * 2 + [(other.fence, True)] * 2


def test_an_older_lease_of_the_same_run_can_do_nothing_more(table: Table, pair: tuple[int, int]) -> None:
    lease = table.taken(table.run(1), *pair)
    table.older(1, *pair)
    newer = table.taken(table.run(1), *pair)
    for step in (table.renew, table.check):
        with pytest.raises(LeaseLost):
            step(lease)
    table.release(lease)
    table.check(newer)


def test_a_lease_lost_on_one_org_is_lost(table: Table, pair: tuple[int, int]) -> None:
    lease = table.taken(table.run(1), *pair)
    table.older(0.0, pair[1])
    for step in (table.renew, table.check):
        with pytest.raises(LeaseLost):
            step(lease)
    expires = table.office.sql("SELECT expires_at > clock_timestamp() + interval '5 s' AS far FROM org_lease")
    assert [row["far"] for row in expires].count(True) <= 1, "a failed renewal renews neither"


def test_a_push_is_covered_only_by_enough_of_the_lease(table: Table, pair: tuple[int, int]) -> None:
    settings = table.office.settings
    lease = table.taken(table.run(1), *pair)
    assert table.leases.covers_push(lease)
    need_s = settings.scaled(settings.push_deadline_s + 5)
    late = Lease(lease.holder, lease.orgs, lease.fence, time.monotonic() + need_s * 0.9)
    assert not table.leases.covers_push(late)


# The check that begins each result transaction.


@contextmanager
def _checking(table: Table, lease: Lease) -> Iterator[Session]:
    with table.office.db.transaction() as session:
        table.leases.check(session, lease)
        yield session


def test_results_let_the_heartbeat_pass(table: Table, pair: tuple[int, int]) -> None:
    lease = table.taken(table.run(1), *pair)
    with _checking(table, lease), table.office.db.transaction() as other:
        other.execute(text("SET LOCAL lock_timeout = '500ms'"))
        table.leases.renew(other, lease)


def test_results_make_a_take_over_wait(table: Table, pair: tuple[int, int]) -> None:
    lease = table.taken(table.run(1), *pair)
    with ThreadPoolExecutor(1) as pool:
        with _checking(table, lease) as results:
            results.execute(text("UPDATE org SET name = 'still ours' WHERE id = :o"), {"o": pair[0]})
            table.older(3600, *pair)
            taking = pool.submit(table.take, table.run(2), *pair)
            await_that(lambda: _waiting(table), "the taker waits")
            assert not taking.done()
        assert isinstance(taking.result(), Lease)
    assert table.office.value("SELECT name FROM org WHERE id = :o", o=pair[0]) == "still ours"


# Webhook work gives way.


@pytest.mark.rule("LK-1")
def test_the_scope_of_the_lock_is_the_org_unless_it_is_the_installation(office: Office, settings: Settings) -> None:
    table = Table(office)
    orgs = [table.org(name) for name in "abcd"]
    first = table.taken(table.run(1), *orgs[:2])
    table.release(table.taken(table.run(2), *orgs[2:]))
    table.release(first)
    table.leases = Leases(settings.model_copy(update={"lock_scope": "installation"}))
    first = table.taken(table.run(3), *orgs[:2])
    assert set(first.orgs) == set(orgs)
    assert table.refused(table.run(4), *orgs[2:]).holder == "run:3"
    table.check(table.renew(first))
    table.taken(table.run(3), *orgs[:2], joining=True)
    table.release(first)
    table.taken(table.run(4), *orgs[2:])


@pytest.mark.rule("LK-4")
def test_webhook_work_hands_over_between_two_batches(table: Table, pair: tuple[int, int]) -> None:
    integration = table.integration(*pair)
    hooks = webhook_holder(integration, table.workspace)
    lease = table.taken(hooks, *pair, joining=True)
    table.open_batch(lease, integration)
    assert table.refused(table.run(1), *pair).holder == hooks.name
    assert table.refused(hooks, *pair, joining=True).holder == "run:1", "the next batch must not begin"
    table.check(lease)
    table.close_batch()
    table.taken(table.run(1), *pair)
    with pytest.raises(LeaseLost):
        table.check(lease)


@pytest.mark.rule("LK-4")
def test_a_batch_that_lapsed_holds_nobody_up(table: Table, pair: tuple[int, int]) -> None:
    integration = table.integration(*pair)
    lease = table.taken(webhook_holder(integration, table.workspace), *pair)
    table.open_batch(lease, integration, until_s=-1)
    table.taken(table.run(1), *pair)


def test_a_batch_that_lapsed_does_not_come_to_life_again(table: Table, pair: tuple[int, int]) -> None:
    """Its process stood still meanwhile, and goes on: the keeper renews what it holds, but not that."""
    integration = table.integration(*pair)
    lease = table.taken(webhook_holder(integration, table.workspace), *pair)
    for name, until_s in (("held", 2.0), ("lapsed", -1.0)):
        table.open_batch(lease, integration, until_s, name)
    until = {row["id"]: row["until"] for row in table.office.sql("SELECT id, until FROM open_batch")}
    one = "SELECT until FROM open_batch WHERE id = :id"
    keeper = table.office.keeper
    with keeper.batch("held", lease), keeper.batch("lapsed", lease):
        await_that(lambda: table.office.value(one, id="held") > until["held"], "what is held is renewed")
        assert table.office.value(one, id="lapsed") == until["lapsed"]


@pytest.mark.rule("LK-4")
def test_webhook_work_does_not_take_free_orgs_before_a_waiter(table: Table, pair: tuple[int, int]) -> None:
    first = table.taken(table.run(1), *pair)
    table.refused(table.run(2), *pair)
    table.release(first)
    hooks = webhook_holder(7, table.workspace)
    assert table.refused(hooks, *pair, joining=True).holder == "run:2"
    stale_s = table.office.settings.scaled(30.0)
    table.office.sql("UPDATE org_lease SET wanted_at = wanted_at - make_interval(secs => :s)", s=stale_s)
    table.taken(hooks, *pair, joining=True)  # the waiter has gone away


@pytest.mark.rule("LK-3")
def test_a_run_does_not_give_way_to_a_waiter(table: Table, pair: tuple[int, int]) -> None:
    table.taken(table.run(1), *pair)
    table.refused(table.run(2), *pair)
    table.taken(table.run(1), *pair, joining=True)


@pytest.mark.rule("LK-3", "P9")
def test_the_end_of_a_run_waits_for_joined_batches_and_lets_no_new_one_in(table: Table, pair: tuple[int, int]) -> None:
    run = table.run(1)
    lease = table.taken(run, *pair)
    assert table.may_end(lease)
    table.open_batch(lease, table.integration(*pair))
    assert not table.may_end(lease)
    assert table.refused(run, *pair, joining=True).holder == run.name
    table.taken(run, *pair)  # the run itself goes on
    table.close_batch()
    assert table.may_end(lease)


@pytest.mark.rule("LK-3")
def test_drainers_that_join_or_are_told_to_wait_do_not_wait_for_each_other(table: Table, pair: tuple[int, int]) -> None:
    run = table.run(1)
    lease = table.taken(run, *pair)
    for wanted in (False, True):
        with table.office.db.transaction() as first, table.office.db.transaction() as second:
            second.execute(text("SET LOCAL lock_timeout = '200ms'"))
            got = [table.leases.take(session, pair, run, joining=True) for session in (first, second)]
        assert [isinstance(one, Held) for one in got] == [wanted, wanted]
        table.open_batch(lease, table.integration(*pair)) if not wanted else None
        table.may_end(lease)


@pytest.mark.rule("LK-3", "LK-4")
def test_who_waits_for_the_orgs_does_not_keep_the_run_from_ending(table: Table, pair: tuple[int, int]) -> None:
    """A waiter asks again and again: while events keep coming, batches would join for ever."""
    run = table.run(1)
    lease = table.taken(run, *pair)
    table.open_batch(lease, table.integration(*pair))
    table.may_end(lease)
    table.refused(Holder("import:2", "import", 1, table.workspace), *pair)
    table.refused(run, *pair, joining=True)
    table.close_batch()
    table.release(lease)
    hooks = webhook_holder(7, table.workspace)
    assert table.refused(hooks, *pair, joining=True).holder == "import:2", "and the waiter is not forgotten by it"
    table.taken(Holder("import:2", "import", 1, table.workspace), *pair)


@pytest.mark.rule("LK-3")
def test_after_the_run_nobody_waits_for_its_wish_to_end(table: Table, pair: tuple[int, int]) -> None:
    lease = table.taken(table.run(1), *pair)
    table.open_batch(lease, table.integration(*pair))
    table.may_end(lease)
    table.close_batch()
    table.release(lease)
    table.taken(webhook_holder(7, table.workspace), *pair, joining=True)


@pytest.mark.rule("LK-3", "P4")
def test_a_run_that_ends_before_its_batches_keeps_the_orgs_until_they_close(
    table: Table, pair: tuple[int, int]
) -> None:
    run, integration = table.run(1), table.integration(*pair)
    lease = table.taken(run, *pair)
    table.open_batch(lease, integration)
    table.leave(run)
    hooks = webhook_holder(integration, table.workspace)
    for other in (table.run(2), run, hooks):
        assert table.refused(other, *pair).holder == run.name
    assert table.refused(run, *pair, joining=True).holder == run.name, "no new batch"
    with pytest.raises(LeaseLost):
        table.check(lease)  # nothing new is begun
    with pytest.raises(LeaseLost), table.office.db.transaction() as session:
        table.leases.lock(session, lease)
    table.check(table.renew(lease), pushed=True)  # but what was sent is saved
    table.close_batch()
    after = table.taken(table.run(2), *pair)
    assert after.fence > lease.fence
    with pytest.raises(LeaseLost):
        table.check(lease, pushed=True)


@pytest.mark.rule("LK-4", "P4")
def test_a_run_that_parked_takes_its_orgs_anew_once_its_batches_have_closed(
    table: Table, pair: tuple[int, int]
) -> None:
    run = table.run(1)
    lease = table.taken(run, *pair)
    table.open_batch(lease, table.integration(*pair))
    table.leave(run)
    table.close_batch()
    assert table.taken(run, *pair).fence > lease.fence


@pytest.mark.rule("LK-3")
def test_a_run_that_ends_with_no_batch_open_is_gone_at_once(table: Table, pair: tuple[int, int]) -> None:
    lease = table.taken(table.run(1), *pair)
    table.open_batch(lease, table.integration(*pair), until_s=-1)
    table.leave(table.run(1))
    assert set(table.holders().values()) == {None}


@pytest.mark.rule("P4")
def test_a_batch_that_opens_as_its_run_ends_is_waited_for(table: Table, pair: tuple[int, int]) -> None:
    run = table.run(1)
    lease = table.taken(run, *pair)
    integration = table.integration(*pair)
    with ThreadPoolExecutor(1) as pool:
        with _checking(table, lease) as opening:
            leaving = pool.submit(table.leave, run)
            await_that(lambda: _waiting(table), "the run's end waits for it")
            opening.execute(
                text(
                    "INSERT INTO open_batch (id, workspace_id, integration_id, fence, lane, until) VALUES "
                    "('b', :w, :i, :f, '1:live:0', clock_timestamp() + interval '1 minute')"
                ),
                {"w": table.workspace, "i": integration, "f": lease.fence},
            )
        leaving.result()
    assert table.refused(table.run(2), *pair).holder == run.name


@pytest.mark.rule("LK-3")
def test_a_waiter_keeps_its_place_when_the_holder_leaves(table: Table, pair: tuple[int, int]) -> None:
    lease = table.taken(table.run(1), *pair)
    table.refused(table.run(2), *pair)
    table.release(lease)
    assert table.office.value("SELECT wanted_by FROM org_lease LIMIT 1") == "run:2"


@pytest.mark.rule("LK-3")
def test_events_join_the_run_of_their_own_integration_alone(table: Table, pair: tuple[int, int]) -> None:
    own, other = webhook_holder(1, table.workspace), webhook_holder(2, table.workspace)
    with table.office.db.transaction() as session:
        assert table.leases.holder_for_events(session, pair, own) == own
    table.taken(table.run(5), *pair)  # of integration 1
    with table.office.db.transaction() as session:
        assert table.leases.holder_for_events(session, pair, own) == table.run(5)
        assert table.leases.holder_for_events(session, pair, other) == other


def test_a_row_locked_for_long_ends_the_wait_with_unavailable(table: Table, pair: tuple[int, int]) -> None:
    """A dead client must not hold up everybody for ever: every session has these limits."""
    table.taken(table.run(1), *pair)
    with table.office.db.transaction() as session:
        assert session.execute(text("SHOW lock_timeout")).scalar() == "5s"
        assert session.execute(text("SHOW idle_in_transaction_session_timeout")).scalar() == "15s"
        session.execute(text("SELECT 1 FROM org_lease FOR UPDATE"))
        with pytest.raises(Unavailable):
            table.office.sql("SET LOCAL lock_timeout = '10ms'; SELECT 1 FROM org_lease FOR UPDATE")
