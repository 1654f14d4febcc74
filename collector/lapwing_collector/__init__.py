"""The Lapwing collector: receives predictions over OTLP, keeps them durably, answers SQL and watches rules."""
