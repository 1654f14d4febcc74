"""What people ask and say about alerts, messages and targets."""
