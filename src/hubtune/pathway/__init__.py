"""Which path each input takes through a whole hub, and what else can be done with several models at once."""

from hubtune.pathway.aft import Aft
from hubtune.pathway.concat_probe import ConcatProbe
from hubtune.pathway.distill import Distill
from hubtune.pathway.ensemble import Ensemble, EnsembleTopK
from hubtune.pathway.hub_pathway import HubPathway
from hubtune.pathway.knowledge_flow import KnowledgeFlow
from hubtune.pathway.multi_teacher import MultiTeacher
from hubtune.pathway.soup import SoupGreedy, SoupUniform
from hubtune.pathway.zoo_tuning import ZooTuning, ZooTuningLite

__all__ = [
    "Aft",
    "ConcatProbe",
    "Distill",
    "Ensemble",
    "EnsembleTopK",
    "HubPathway",
    "KnowledgeFlow",
    "MultiTeacher",
    "SoupGreedy",
    "SoupUniform",
    "ZooTuning",
    "ZooTuningLite",
]
