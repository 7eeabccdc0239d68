"""``hubtune cache``: features, scores, begun trainings and fingerprints of models that are kept."""

from typing import Annotated

import typer

from hubtune.cli.options import Json, print_json


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete all of it; searches compute it again.")] = False,
    as_json: Json = False,
) -> None:
    """Show how large the cache is, of features, scores, trainings that a search has begun, and fingerprints of models; or delete it."""
    import shutil

    from hubtune.runs import cache_folder

    folder = cache_folder()
    sizes = {}
    for part in ("features", "scores", "trainings", "fingerprints"):
        files = [path for path in (folder / part).rglob("*") if path.is_file()]
        sizes[part] = {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}
        if clear:
            shutil.rmtree(folder / part, ignore_errors=True)
    if as_json:
        print_json({"folder": str(folder), "cleared": clear, **sizes})
        return
    for part, size in sizes.items():
        print(f"{part}: {size['files']} files, {size['bytes'] / 1e6:.1f} MB{', deleted' if clear else ''}")
    print(folder)
