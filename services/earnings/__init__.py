"""The earnings service: node.earnings.v1 to an exact ledger and earnings_history."""
