"""What is to be solved: labelled images in splits, and all that depends on what an output is."""

from hubtune.tasks.classification import Classification, accuracy_interval
from hubtune.tasks.kinds import kind_named
from hubtune.tasks.sources import SOURCES
from hubtune.tasks.split import Split
from hubtune.tasks.task import Task

__all__ = ["SOURCES", "Classification", "Split", "Task", "accuracy_interval", "kind_named"]
