"""The Lapwing collector: receives predictions over OTLP, keeps them, answers SQL and watches rules."""
