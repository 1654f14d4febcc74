"""Rules over a lake that fills: slots, states, alerts, and who is told of them."""
