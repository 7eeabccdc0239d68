"""Where pre-trained models come from: cards, hubs, and backbones that all look the same."""

from hubtune.hub.backbone import Backbone
from hubtune.hub.card import ModelCard
from hubtune.hub.hub import Hub
from hubtune.hub.saving import export_timm
from hubtune.hub.sources import SOURCES

__all__ = ["SOURCES", "Backbone", "Hub", "ModelCard", "export_timm"]
