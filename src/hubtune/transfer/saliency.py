"""Which pixels matter more once channels are weighed: Figure 6 of the L2T-ww paper."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from hubtune.hub import Backbone
from hubtune.transfer.feature_matcher import FeatureMatcher, weighted
from hubtune.transfer.meta_networks import MetaNetworks
from hubtune.transfer.networks import Sources

BRIGHTEST = 0.99
"""Share of an image's pixels below the one that is drawn with full strength."""
MORE, LESS = (232, 132, 60), (91, 147, 230)
"""Red, green and blue of pixels that matter more, and less."""


def saliency(
    target: Backbone, matcher: FeatureMatcher, meta: MetaNetworks, sources: Sources, canvas: UInt8[Tensor, "B 3 H W"]
) -> tuple[Float[Tensor, "B H W"], Float[Tensor, "B H W"]]:
    """Saliency maps of weighted and of unweighted matching between the last maps of each source and the target.

    M_ij = max_c |d L / d x_cij| of L = sum_c w_c mean_HW (r(T) - S)_c^2, divided by its sum over pixels; w = f(S), held fixed, or 1 / C.
    The derivative goes through the target's view of the image and the sources', and back to the pixels that both were made from.

    Source: Jang et al. (2019), section 3.5. Differs from the paper: the absolute value, as in Simonyan et al. (2014); "normalised
    gradients" are taken to sum to one; with several sources their losses are added.

    Args:
        target, matcher, meta, sources: in evaluation mode.
        canvas: images.
    """
    backbones = (target, *sources.backbones)
    views = [view.requires_grad_() for view in (target.view(canvas), *sources.views(canvas))]
    with torch.enable_grad():
        seen = sources.observe(views[1:], canvas.device)
        distances = matcher(target.maps(views[0]), matcher.resize(seen))
    with torch.no_grad():
        channels = meta(meta.pool(seen)).channels
    last = [
        max((pair for pair in meta.pairs if pair.source == s), key=lambda pair: (pair.target_layer, pair.source_layer))
        for s in range(len(sources.backbones))
    ]
    maps = []
    for learnt in (True, False):
        weights = {}
        for n, ws in channels.items():
            parts = [
                w * (pair in last) if learnt else torch.full_like(w, (pair in last) / w.shape[1])
                for pair, w in zip(matcher.rows[n], ws, strict=True)
            ]
            weights[n] = torch.cat(parts, 1)
        gradients = torch.autograd.grad(weighted(weights, distances).sum(), views, retain_graph=learnt, materialize_grads=True)
        pixels = [_to_canvas(gradient, backbone, canvas) for gradient, backbone in zip(gradients, backbones, strict=True)]
        found = torch.stack(pixels).sum(0).abs().amax(1)
        maps.append(found / found.sum((1, 2), keepdim=True).clamp_min(torch.finfo(found.dtype).tiny))
    return maps[0], maps[1]


def _to_canvas(gradient: Float[Tensor, "B 3 s s"], backbone: Backbone, canvas: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """The derivative by a view as one by the pixels (on the scale 0 to 1): through the pixel statistics, then through the resizing."""
    preprocessing = backbone.preprocessing
    gradient = gradient.to(canvas.device) / torch.tensor(preprocessing.std, device=canvas.device).view(1, 3, 1, 1)
    if gradient.shape[-2:] == canvas.shape[-2:]:
        return gradient
    pixels = torch.zeros(canvas.shape, device=canvas.device, requires_grad=True)
    with torch.enable_grad():
        view = F.interpolate(pixels, gradient.shape[-2:], mode=preprocessing.interpolation, antialias=True, align_corners=False)
    return torch.autograd.grad(view, pixels, gradient)[0]


def saliency_pictures(
    canvas: UInt8[Tensor, "B 3 H W"], with_weights: Float[Tensor, "B H W"], without: Float[Tensor, "B H W"]
) -> dict[str, UInt8[Tensor, "3 H W"]]:
    """Three pictures an image: itself, and in grey with the pixels that matter more, and less, once channels are weighed."""
    change = with_weights - without
    pictures = {}
    for i, image in enumerate(canvas):
        grey = 0.5 * image.float().mean(0, keepdim=True).expand(3, -1, -1)
        pictures[f"saliency-{i}-image"] = image
        for name, part, colour in (("more", change[i].clamp_min(0), MORE), ("less", (-change[i]).clamp_min(0), LESS)):
            top = change[i].abs().flatten().float().quantile(BRIGHTEST).clamp_min(torch.finfo(change.dtype).tiny)
            strength = (part / top).clamp_max(1)
            ink = torch.tensor(colour, device=canvas.device).view(3, 1, 1)
            pictures[f"saliency-{i}-{name}"] = (grey + strength * (ink - grey)).round().to(torch.uint8)
    return pictures
