"""The tasks that come with the package."""

from hubtune.errors import unknown_name
from hubtune.tasks.reading import Reading, Rows
from hubtune.tasks.rendered import EMBEDDED_TASKS, render


def read(location: str) -> Reading:
    """Render one of the demonstration tasks.

    Args:
        location: its name, such as "digits".

    Raises:
        UnknownNameError: there is none of this name.
    """
    if location not in EMBEDDED_TASKS:
        raise unknown_name("demonstration task", location, EMBEDDED_TASKS)
    splits = {
        split: Rows(images=list(images), labels=labels.tolist(), ids=[f"{split}[{row}]" for row in range(len(images))])
        for split, (images, labels) in render(location).items()
    }
    return Reading(name=location, splits=splits, class_names=EMBEDDED_TASKS[location].class_names)
