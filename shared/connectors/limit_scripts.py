"""What the limiter does on Redis, each in one script and by Redis' own clock (milliseconds).

Per scope (an org; an app, whose limits all its orgs share): `in`, the calls under way, by the time at which each
lapses; `blocks`, until when the vendor refuses, by limit. Per org: `wait`, who waits for a call, by class and arrival.
Per limit: a hash with `n` (calls in the window), what the vendor said beyond that, and the pace; and a list of buckets
"time calls" that sum up to `n`: a window of 100,000 calls takes no more memory than one of 500.

KEYS: org in, org wait, org blocks, app in, app blocks, then hash and list of each limit.
Each limit in ARGV: calls, window, scope (1 org, 2 app), then what each script names.
"""

from __future__ import annotations

_COMMON = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local INSIDE = {KEYS[1], KEYS[4]}
local BUCKETS = 500
local function hash(i) return KEYS[4 + i * 2] end
local function queue(i) return KEYS[5 + i * 2] end
local function width(window) return math.max(1, math.floor(window / BUCKETS)) end
local function keep(i, window)
  redis.call('PEXPIRE', hash(i), window + 3700000)
  redis.call('PEXPIRE', queue(i), window + 3700000)
end
local function parsed(bucket)
  local at, calls = string.match(bucket, '^(%d+) (%d+)$')
  return tonumber(at), tonumber(calls)
end
local function count(i, window, calls)
  local at = math.floor(now / width(window)) * width(window)
  local last = redis.call('LINDEX', queue(i), -1)
  local last_at, last_calls = 0, 0
  if last then last_at, last_calls = parsed(last) end
  if last and last_at >= at then
    redis.call('LSET', queue(i), -1, string.format('%d %d', last_at, last_calls + calls))
  else
    redis.call('RPUSH', queue(i), string.format('%d %d', at, calls))
  end
  redis.call('HINCRBY', hash(i), 'n', calls)
  keep(i, window)
end
-- A bucket leaves when the youngest call in it is as old as the window.
local function counted(i, window)
  while true do
    local first = redis.call('LINDEX', queue(i), 0)
    if not first then break end
    local at, calls = parsed(first)
    if at + width(window) + window > now then break end
    redis.call('LPOP', queue(i))
    redis.call('HINCRBY', hash(i), 'n', -calls)
  end
  return tonumber(redis.call('HGET', hash(i), 'n') or 0)
end
local function said(i)
  local row = redis.call('HMGET', hash(i), 'said', 'said_until')
  if row[1] and tonumber(row[2]) > now then return tonumber(row[1]), tonumber(row[2]) end
  return 0, now
end
"""

ACQUIRE = (
    _COMMON
    + """
-- ARGV: token, rank, arrival ('' at the first try), budget, hold, longest sleep, number of limits, has app limits; then
-- per limit: calls, window, scope, kept for higher classes, all reserves, paced (0 or 1).
-- Returns {wait, limit's number (0 none, -1 org block, -2 app block), arrival, name of the block}. Wait 0: taken.
-- Refused for good where the wait is longer than the budget.
local token, budget, hold, longest = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local arrival = ARGV[3] ~= '' and ARGV[3] or string.format('%015d', now)
local entry = ARGV[2] .. ':' .. arrival .. ':' .. token
local limits, scopes = tonumber(ARGV[7]), 1 + tonumber(ARGV[8])
local function arg(i, name) return tonumber(ARGV[8 + (i - 1) * 6 + name]) end
local CALLS, WINDOW, SCOPE, KEPT, RESERVE, PACED = 1, 2, 3, 4, 5, 6

-- Calls whose process died: they may have been counted by the vendor until they lapsed.
local inside = {0, 0}
for s = 1, scopes do
  local late = redis.call('ZREMRANGEBYSCORE', INSIDE[s], '-inf', now)
  for i = 1, limits do
    if late > 0 and arg(i, SCOPE) == s and arg(i, WINDOW) > 0 then count(i, arg(i, WINDOW), late) end
  end
  inside[s] = redis.call('ZCARD', INSIDE[s])
end

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local ahead = 0
for _, other in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if other < entry then ahead = ahead + 1 end
end

-- Milliseconds until `calls` have left the window; the whole window where nobody can know.
local function leaves(i, calls)
  if calls <= 0 then return 0 end
  local window, extra, extra_until = arg(i, WINDOW), said(i)
  local sum, at_calls, at_rest = 0, nil, extra > 0 and calls <= extra and now or nil
  for _, bucket in ipairs(redis.call('LRANGE', queue(i), 0, -1)) do
    local at, n = parsed(bucket)
    sum = sum + n
    local gone = at + width(window) + window
    if not at_rest and extra > 0 and sum >= calls - extra then at_rest = gone end
    if sum >= calls then at_calls = gone break end
  end
  local best = at_calls or now + window
  if at_rest then best = math.min(best, math.max(at_rest, extra_until)) end
  return math.max(1, best - now)
end

-- Reserves are given free bit by bit while the window has less than a twelfth (5 s of a minute) to go until as many
-- calls come back as are reserved.
local function give(i) return math.min(5000, arg(i, WINDOW) / 12) end
local function kept(i)
  if arg(i, WINDOW) == 0 then return arg(i, KEPT) end
  return math.floor(arg(i, KEPT) * math.min(1, leaves(i, arg(i, RESERVE)) / give(i)))
end
-- When there is room: by what leaves, or by what of the reserves is given free.
local function room_in(i, free)
  local ms = leaves(i, 1 + arg(i, KEPT) - free)
  if free < 1 then return ms end
  return math.min(ms, math.max(1, leaves(i, arg(i, RESERVE)) - give(i) * free / arg(i, KEPT) + 1))
end

-- At the window's even pace, or so slowly that what is free lasts until the next call comes back.
local function gap(i, free) return math.max(arg(i, WINDOW) / arg(i, CALLS), leaves(i, 1) / free) end

local wait, who, name = 0, 0, ''
local function must_wait(ms, by, what)
  if ms > wait then wait, who, name = ms, by, what or '' end
end
for s = 1, scopes do
  local row = redis.call('HGETALL', KEYS[s == 1 and 3 or 5])
  for k = 1, #row, 2 do
    if string.sub(row[k], 1, 6) == 'until:' then must_wait(tonumber(row[k + 1]) - now, -s, string.sub(row[k], 7)) end
  end
end
local paces = {}
for i = 1, limits do
  local calls, window = arg(i, CALLS), arg(i, WINDOW)
  local used = inside[arg(i, SCOPE)]
  if window > 0 then used = used + counted(i, window) + said(i) end
  local free = calls - used - ahead
  local reserved = 0
  if arg(i, KEPT) > 0 and free <= arg(i, KEPT) then reserved = kept(i) end
  if free - reserved < 1 then
    if window == 0 then must_wait(20 * (ahead + 1), i)
    else must_wait(room_in(i, free), i) end
  elseif arg(i, PACED) == 1 and used * 4 >= calls then
    local step = gap(i, free - reserved)
    local due = math.max(now, tonumber(redis.call('HGET', hash(i), 'pace') or 0))
    local early = due - now - step * math.max(1, math.floor(calls / 60)) + step * ahead
    if early > 0 then must_wait(math.ceil(early), i) else paces[i] = due + step end
  end
end

if wait > 0 then
  if wait <= budget then
    redis.call('ZADD', KEYS[2], now + math.min(wait, longest) + 1000, entry)
    redis.call('PEXPIRE', KEYS[2], 60000)
  else
    redis.call('ZREM', KEYS[2], entry)
  end
  return {math.ceil(wait), who, arrival, name}
end
redis.call('ZREM', KEYS[2], entry)
for s = 1, scopes do
  redis.call('ZADD', INSIDE[s], now + hold, token)
  redis.call('PEXPIRE', INSIDE[s], hold + 3600000)
end
for i, due in pairs(paces) do
  redis.call('HSET', hash(i), 'pace', string.format('%d', math.ceil(due)))
  keep(i, arg(i, WINDOW))
end
return {0, 0, arrival, ''}
"""
)

RELEASE = (
    _COMMON
    + """
-- ARGV: token, sent (0 or 1), number of limits; then per limit: calls, window, scope, used by the vendor's word (-1:
-- it said nothing). Returns 1 where the call was still under way.
-- A call counts from its end, not from its beginning: the vendor counted it somewhere in between, so it leaves our
-- window after the vendor's, whether that rolls or begins anew at fixed times.
local token, sent, limits = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3])
local function arg(i, name) return tonumber(ARGV[3 + (i - 1) * 4 + name]) end
local CALLS, WINDOW, SCOPE, USED = 1, 2, 3, 4
local was = {redis.call('ZREM', KEYS[1], token), redis.call('ZREM', KEYS[4], token)}
for i = 1, limits do
  local window, scope = arg(i, WINDOW), arg(i, SCOPE)
  if window > 0 then
    if sent and was[scope] == 1 then count(i, window, 1) end
    if arg(i, USED) >= 0 then
      -- Calls under way may or may not be in the vendor's figure; they are taken as if they were.
      local extra = arg(i, USED) - counted(i, window) - redis.call('ZCARD', INSIDE[scope])
      if extra > 0 and extra >= said(i) then
        local till = now + math.min(window, 3600000)
        redis.call('HSET', hash(i), 'said', extra, 'said_until', string.format('%d', till))
        keep(i, window)
      end
    end
  end
end
return was[1]
"""
)

BLOCK = """
-- KEYS: blocks. ARGV: the limit's name, milliseconds the vendor said (0: nothing), those of a first refusal without a
-- word, the most of repeated ones. Returns how long it is blocked from now.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local told, first, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local field, strikes = 'until:' .. ARGV[1], 'strikes:' .. ARGV[1]
local before = tonumber(redis.call('HGET', KEYS[1], field) or 0)
if before > now and now + told <= before then return before - now end
local ms = told
if told > 0 then
  redis.call('HDEL', KEYS[1], strikes)
else
  if now - before > most then redis.call('HDEL', KEYS[1], strikes) end
  ms = math.min(first * 2 ^ (redis.call('HINCRBY', KEYS[1], strikes, 1) - 1), most)
end
redis.call('HSET', KEYS[1], field, string.format('%d', now + ms))
local lives = math.ceil(ms + most + 60000)
if redis.call('PTTL', KEYS[1]) < lives then redis.call('PEXPIRE', KEYS[1], lives) end
return math.ceil(ms)
"""
