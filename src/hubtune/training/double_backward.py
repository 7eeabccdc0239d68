"""Layers whose second derivatives cost little: convolution and BatchNorm, the bulk of a convolutional network's Hessian products."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.autograd import Function

from hubtune.training import small_maps

__all__ = ["with_cheap_double_backward"]


def with_cheap_double_backward(network: nn.Module) -> nn.Module:
    """Turn every plain ``Conv2d``, ``BatchNorm2d`` and timm's ``BatchNormAct2d``, in place, into one with a cheap double backward pass.

    Outputs, first and second derivatives stay the same (third ones are not offered). Torch's own second derivative of a convolution
    computes the part by the weight as a convolution with a kernel as large as the image; here it is the ordinary weight gradient, and
    maps of a few pixels are convolved by matrix products. Torch's own of BatchNorm is some thirty passes over the activations; here it is
    a fused one for the sums, then one for each output's terms.
    ``Hardsigmoid``, of which torch has no second derivative, is written as relu6(x + 3) / 6. Subclasses of these layers stay as they are.

    Args:
        network: changed in place; parameter and buffer names stay.

    Returns:
        The same network.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
            module.__class__ = _Conv2d
        elif type(module) is nn.BatchNorm2d and module.affine:
            module.__class__ = _BatchNorm2d
        elif type(module) is BatchNormAct2d and module.affine:
            module.__class__ = _BatchNormAct2d  # pyright: ignore[reportAttributeAccessIssue]
        elif type(module) is nn.Hardsigmoid:
            module.__class__ = _Hardsigmoid
    return network


class _Conv2d(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not torch.is_grad_enabled() or torch.is_autocast_enabled(input.device.type):
            return super()._conv_forward(input, weight, bias)
        # Weights are leaves, which the engine cannot be asked about; a view is none.
        return _Convolution.apply(input, weight.view_as(weight), bias, (self.stride, self.padding, self.dilation, self.groups))  # pyright: ignore[reportReturnType]


class _BatchNorm2d(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:
        return _normalized(self, input) if _is_cheap(self, input) else super().forward(input)


class _BatchNormAct2d(BatchNormAct2d):
    """timm's BatchNorm with the activation that follows it."""

    def forward(self, x: Tensor) -> Tensor:
        if not _is_cheap(self, x):  # pyright: ignore[reportArgumentType]
            return super().forward(x)
        return self.act(self.drop(_normalized(self, x)))  # pyright: ignore[reportArgumentType, reportCallIssue]


def _is_cheap(layer: nn.BatchNorm2d, x: Tensor) -> bool:
    learns = layer.training and torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type)
    # A single value for each channel is left to torch's own layer and its error message.
    return learns and x.shape[0] * x.shape[2] * x.shape[3] > 1


def _normalized(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    momentum = layer.momentum
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
        momentum = 1 / float(layer.num_batches_tracked) if momentum is None else momentum
    weight = layer.weight.view_as(layer.weight)
    return _BatchNorm.apply(x, weight, layer.bias, layer.running_mean, layer.running_var, momentum or 0.0, layer.eps)[0]  # pyright: ignore


class _Hardsigmoid(nn.Hardsigmoid):
    def forward(self, input: Tensor) -> Tensor:
        return F.relu6(input + 3) / 6


def _wanted(ctx, *positions: int) -> list[bool]:
    """Which inputs' gradients the running backward pass will use. ``needs_input_grad`` alone says which could ever be used."""
    wanted = []
    for position in positions:
        node = ctx.next_functions[position][0]
        wanted.append(ctx.needs_input_grad[position] and (node is None or torch._C._will_engine_execute_node(node)))
    return wanted


def _convolve(x: Tensor, weight: Tensor, options: tuple, bias: Tensor | None = None) -> Tensor:
    if small_maps.is_small(x, weight, options, small_maps.LARGEST):
        return small_maps.convolve(x, weight, bias)
    return F.conv2d(x, weight, bias, *options)


def _input_gradient(gy: Tensor, x: Tensor, weight: Tensor, options: tuple) -> Tensor:
    """Bilinear in gy and weight; of x only the shape matters."""
    if small_maps.is_small(x, weight, options, small_maps.LARGEST):
        return small_maps.input_gradient(gy, weight)
    return _convolution_backward(gy, x, weight, options, [True, False, False])[0]


def _weight_gradient(gy: Tensor, x: Tensor, weight: Tensor, options: tuple) -> Tensor:
    """Bilinear in gy and x; of weight only the shape matters."""
    if small_maps.is_small(x, weight, options, small_maps.LARGEST_FOR_WEIGHTS):
        return small_maps.weight_gradient(gy, x, weight)
    return _convolution_backward(gy, x, weight, options, [False, True, False])[1]


def _convolution_backward(gy: Tensor, x: Tensor, weight: Tensor, options: tuple, mask: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    stride, padding, dilation, groups = options
    return torch.ops.aten.convolution_backward(gy, x, weight, None, stride, padding, dilation, False, [0, 0], groups, mask)


class _Convolution(Function):
    """y = x * weight + bias."""

    @staticmethod
    def forward(ctx, x, weight, bias, options):
        ctx.save_for_backward(x, weight)
        ctx.options = options
        return _convolve(x, weight, options, bias)

    @staticmethod
    def backward(ctx, gy):
        x, weight = ctx.saved_tensors
        by_x, by_weight = _wanted(ctx, 0, 1)
        gx = _InputGradient.apply(gy, x.detach(), weight, ctx.options) if by_x else None
        gw = _WeightGradient.apply(gy, x, weight.detach(), ctx.options) if by_weight else None
        gb = gy.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return gx, gw, gb, None


class _InputGradient(Function):
    @staticmethod
    def forward(ctx, gy, x, weight, options):
        ctx.save_for_backward(gy, weight)
        ctx.options = options
        return _input_gradient(gy, x, weight, options)

    @staticmethod
    def backward(ctx, u):
        gy, weight = ctx.saved_tensors
        by_gy, by_weight = _wanted(ctx, 0, 2)
        return (
            _convolve(u, weight, ctx.options) if by_gy else None,
            None,
            _weight_gradient(gy, u, weight, ctx.options) if by_weight else None,
            None,
        )


class _WeightGradient(Function):
    @staticmethod
    def forward(ctx, gy, x, weight, options):
        ctx.save_for_backward(gy, x)
        ctx.options = options
        return _weight_gradient(gy, x, weight, options)

    @staticmethod
    def backward(ctx, a):
        gy, x = ctx.saved_tensors
        by_gy, by_x = _wanted(ctx, 0, 1)
        return (
            _convolve(x, a, ctx.options) if by_gy else None,
            _input_gradient(gy, x, a, ctx.options) if by_x else None,
            None,
            None,
        )


class _BatchNorm(Function):
    """y = weight (x - mean) s + bias with s = 1 / sqrt(var + eps), over all N = B H W pixels of a channel.

    Returns mean and s too, so that the backward pass can be given them; no derivative goes through these copies.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, momentum, eps):
        y, mean, s = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(x, weight, mean, s)
        ctx.mark_non_differentiable(mean, s)
        return y, mean, s

    @staticmethod
    def backward(ctx, gy, *_):
        x, weight, mean, s = ctx.saved_tensors
        gx, gw, gb = _BatchNormGradient.apply(gy, x, weight, mean, s)
        return gx, gw, gb, None, None, None, None


class _BatchNormGradient(Function):
    """(gx, gw, gb) of BatchNorm, and their derivative.

    With z = (x - mean) s, means m(.) over the N pixels of a channel and the projection P(u) = u - m(u) - z m(u z), symmetric in u:

        gx = weight s P(gy),  gw = sum gy z,  gb = sum gy.

    For cotangents u of gx, a of gw, c of gb, with dz_j / dx_i = s P and ds / dx_i = -s^2 z_i / N:

        by gy:      weight s P(u) + a z + c
        by weight:  s <u, P(gy)>
        by x:       s P(a gy - weight s (m(gy z) u + m(u z) gy)) - weight s^2 z m(u P(gy))

    The argument of P lies in the span of u and gy, so every coefficient follows from the means of u, gy, u z, gy z and u gy. Both
    results are then affine in u, gy and x, pixel by pixel, with coefficients by channel.
    """

    @staticmethod
    def forward(ctx, gy, x, weight, mean, s):
        gx, gw, gb = _sums(gy, x, weight, mean, s, [True, True, True])
        ctx.save_for_backward(gy, x, weight, mean, s, gw, gb)
        ctx.set_materialize_grads(False)
        return gx, gw, gb

    @staticmethod
    def backward(ctx, u, a, c):
        gy, x, weight, mean, s, gw, gb = ctx.saved_tensors
        by_gy, by_x, by_weight = _wanted(ctx, 0, 1, 2)
        a = torch.zeros_like(weight) if a is None else a
        c = torch.zeros_like(weight) if c is None else c
        if u is None:
            u = torch.zeros_like(gy)
        n = x.numel() / x.shape[1]
        _, uz, um = _sums(u, x, weight, mean, s, [False, True, True])
        uz, um, gz, gm = uz / n, um / n, gw / n, gb / n
        k = weight * s
        d_gy = d_x = d_weight = None
        if by_gy:
            # k (u - um - z uz) + a z + c, with z = s x - s mean
            z = a - k * uz
            d_gy = _affine((k, u), (z * s, x), constant=c - k * um - z * s * mean)
        if by_x or by_weight:
            ug = (u * gy).mean((0, 2, 3))
            u_p_gy = ug - um * gm - uz * gz
            d_weight = s * u_p_gy * n
            # w = p gy + q u has means p gm + q um and p gz + q uz
            p, q = a - k * uz, -k * gz
            z = -(p * gz + q * uz) * s - k * s * u_p_gy
            d_x = _affine((s * p, gy), (s * q, u), (z * s, x), constant=-s * (p * gm + q * um) - z * s * mean)
        return d_gy, d_x, d_weight, None, None


def _sums(u: Tensor, x: Tensor, weight: Tensor, mean: Tensor, s: Tensor, mask: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    """(weight s P(u), sum u z, sum u) in one fused call; what the mask leaves out is None."""
    return torch.ops.aten.native_batch_norm_backward(u, x, weight, None, None, mean, s, True, 0.0, mask)


def _affine(*terms: tuple[Tensor, Tensor], constant: Float[Tensor, " C"]) -> Float[Tensor, "B C H W"]:
    """sum of coefficient times map, plus the constant, coefficients (C,) by channel."""
    result = None
    for coefficient, x in terms:
        coefficient = coefficient.view(-1, 1, 1)
        result = torch.addcmul(constant.view(-1, 1, 1), coefficient, x) if result is None else result.addcmul_(coefficient, x)
    assert result is not None
    return result
