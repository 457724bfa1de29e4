"""The other integration on a Books org, until CRM–Books is there: a kind that has its sync type and its lock alone."""
