"""What the heatmap codec, crops and augmentation cost beside a training step.

Command:   python benchmarks/landmark_codec.py [--size 256] [--batch 16] [--repeats 5] [--network resnet50]
           python benchmarks/landmark_codec.py --size 64 --batch 4 --network resnet18 --repeats 2    (seconds)
Claims:    encoding and decoding cost at most 5 % of a training step; cropping and augmentation at most 15 % of it.
Setting:   one thread, CPU seconds, interleaved in one process, the median of each part; 68 points, heatmaps of a quarter of the size; a
           step is forward, loss and backward of the network with three 256-channel deconvolutions, and Adam's update. Crops are cut from
           640 x 480 photos held in memory, as arrays: reading a file is not counted.
Measured:  a step of 12.3 s: encoding and decoding 0.06 %, augmentation 0.2 %, cropping 0.5 % of it (EPYC, one thread, size 256, resnet50).
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from hubtune.landmarks import W300, Landmarks
from hubtune.landmarks.geometry import Box, Crop
from hubtune.landmarks.heatmaps import encode
from hubtune.nets import DeconvolutionHead
from hubtune.tasks import Split
from hubtune.tasks.images import squash
from hubtune.tasks.store import ImageStore


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    import timm  # HubTune, imported before it, declares the operators that torchvision may lack.

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--network", default="resnet50")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    batch, size = options.batch, options.size
    photos = [generator.integers(0, 256, (480, 640, 3), dtype=np.uint8) for _ in range(batch)]
    points = torch.from_numpy(generator.uniform(0.1, 0.9, (batch, W300.points, 2)).astype(np.float32))
    crops = [Crop(photo, Box(150.0, 70.0, 331.5)) for photo in photos]
    split = Split(ImageStore(photos), range(batch), points, [str(i) for i in range(batch)])
    scheme = {"pairs": W300.pairs, "normalizer": W300.normalizer, "sigma": W300.sigma}
    task = Landmarks(name="speed", train=split, val=split, test=split, heatmap_size=size // 4, **scheme)
    network = timm.create_model(options.network, num_classes=0)
    canvas = torch.from_numpy(generator.integers(0, 256, (batch, 3, size, size), dtype=np.uint8))
    images = canvas.float() / 255
    shapes = [tuple(x.shape[1:]) for x in network.forward_intermediates(images[:1], intermediates_only=True)]
    head = DeconvolutionHead.on(shapes, outputs=W300.points, size=size // 4)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], 1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        outputs = head(network.forward_intermediates(images, intermediates_only=True))
        task.loss(outputs, points).mean().backward()
        optimizer.step()

    heatmaps = torch.rand(batch, W300.points, size // 4, size // 4)

    def codec() -> None:
        encode(points, size // 4, W300.sigma)
        task.answers(heatmaps)

    parts: dict[str, Callable[[], object]] = {
        "step": step,
        "encode and decode": codec,
        "augmentation": lambda: task.augment(canvas, points, torch.Generator().manual_seed(0)),
        "crop and resize": lambda: [squash(np.asarray(crop.load()), size) for crop in crops],
    }
    for work in parts.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(options.repeats):
        for name, work in parts.items():
            times[name].append(seconds(work))
    medians = {name: median(values) for name, values in times.items()}
    shares = {name: value / medians["step"] for name, value in medians.items()}
    for name, value in medians.items():
        print(f"{name:20s} {1000 * value:9.1f} ms  {100 * shares[name]:6.1f} % of a step")
    data = shares["augmentation"] + shares["crop and resize"]
    print(json.dumps({"codec": shares["encode and decode"], "data": data, "size": size, "batch": batch, "network": options.network}))


if __name__ == "__main__":
    main()
