"""Tools for those who write rules: check, test, backtest, run over the past."""
