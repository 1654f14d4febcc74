"""Panels: what charts and tables of the dashboard show, each one SELECT with a name and an address."""

from lapwing_collector.web.panels.endpoint import PanelEndpoint
from lapwing_collector.web.panels.files import load_panels
from lapwing_collector.web.panels.panel import Arguments, Panel, Query, axis, written_out

__all__ = ["Arguments", "Panel", "PanelEndpoint", "Query", "axis", "load_panels", "written_out"]
