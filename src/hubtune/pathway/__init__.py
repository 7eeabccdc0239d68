"""Which path each input takes through a whole hub, and what else can be done with several models at once."""

from hubtune.pathway.hub_pathway import HubPathway

__all__ = ["HubPathway"]
