"""The read side: nodes, earnings, live changes and a page, answered from PostgreSQL alone."""
