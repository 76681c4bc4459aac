"""The same network in fewer steps, for export and inference; it is trained as the paper has it."""

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from avatarify_plus.network.blocks import UpBlock
from avatarify_plus.network.generator import Generator
from avatarify_plus.network.model import AnimationModel


def simplify(model: AnimationModel) -> AnimationModel:
    """Return a copy in evaluation mode that computes the same pictures, up to rounding, in fewer operations.

    Convolutions after a nearest-neighbour enlargement run before it, with four ninths of the multiplications, and the
    painter's last two convolutions with them. The copy is not for training: its weights have other names and shapes.
    """
    simple = copy.deepcopy(model).eval()
    generator = simple.generator
    if generator.config.blend and generator.final.kernel_size == (1, 1):
        generator.tail = PhaseTail(generator)
    for parent in list(simple.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, UpBlock) and child.mode == "nearest":
                parent.register_module(name, PhaseUpBlock(child))
    return simple


class PhaseUpBlock(nn.Module):
    """An UpBlock with its 3x3 convolution before the enlargement; (B, C, H, W) to (B, C', 2H, 2W).

    Each pixel of a nearest-neighbour enlargement sees two by two source cells through its 3x3 kernel, and which weights
    meet there depends on the parity of its row and column alone: four phases, each a 2x2 convolution, laid out by a
    pixel shuffle. Source: sub-pixel convolution, Shi et al. 2016.
    """

    def __init__(self, block: UpBlock) -> None:
        super().__init__()
        self.conv = phase_convolution(block)

    def forward(self, x: Tensor) -> Tensor:
        return lay_out(F.relu(self.conv(x)))


class PhaseTail(nn.Module):
    """The painter's last up block and its 1x1 convolution to a picture, before the enlargement.

    forward: x (B, C, H, W) and the finest hint, (B, C'', 2H, 2W) or None, to the painting's logits (B, 3, 2H, 2W). Only
    three channels are ever enlarged. The hint's head and the last convolution, both 1x1 and linear, become one.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        final = generator.final
        assert final.bias is not None
        self.conv = phase_convolution(cast(UpBlock, generator.up_blocks[1]))
        weight = final.weight.detach()  # (3, C', 1, 1)
        phases = torch.einsum("oc,pq->opcq", weight[:, :, 0, 0], torch.eye(4))  # (3, 4, C', 4)
        channels = weight.shape[1]
        self.final = nn.Conv2d(4 * channels, 12, 1)
        _fill(self.final, phases.reshape(12, 4 * channels, 1, 1), final.bias.detach().repeat_interleave(4))
        self.hint = None
        if len(generator.hint_heads):
            head = cast(nn.Conv2d, generator.hint_heads[2])
            assert head.bias is not None
            self.hint = nn.Conv2d(head.in_channels, 3, 1)
            joint = torch.einsum("oc,ci->oi", weight[:, :, 0, 0], head.weight.detach()[:, :, 0, 0])  # (3, C'')
            _fill(self.hint, joint[:, :, None, None], weight[:, :, 0, 0] @ head.bias.detach())

    def forward(self, x: Tensor, hint: Tensor | None) -> Tensor:
        logits = lay_out(self.final(F.relu(self.conv(x))))
        return logits if self.hint is None or hint is None else logits + self.hint(hint)


def phase_convolution(block: UpBlock) -> nn.Conv2d:
    """Return the 2x2 convolution, C to 4 C' channels, of an UpBlock's four phases, its batch norm folded in."""
    fused = fuse_conv_bn_eval(block.conv.eval(), block.norm.eval())
    assert fused.bias is not None
    # Seen from between two source cells: the odd pixel of the first, then the even one of the second.
    odd, even = torch.tensor([[1.0, 1, 0], [0, 0, 1]]), torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    merge = torch.stack([odd, even])  # (2 phases, 2 cells, 3 taps)
    weight = torch.einsum("pay,qbx,ocyx->opqcab", merge, merge, fused.weight.detach())  # (C', 2, 2, C, 2, 2)
    conv = nn.Conv2d(fused.in_channels, 4 * fused.out_channels, 2, padding=1)
    _fill(conv, weight.flatten(0, 2), fused.bias.detach().repeat_interleave(4))  # (4 C', C, 2, 2)
    return conv


def lay_out(phases: Tensor) -> Tensor:
    """Turn the phases (B, 4 C, H + 1, W + 1) of every point between source cells into pixels (B, C, 2 H, 2 W)."""
    return F.pixel_shuffle(phases, 2)[..., 1:-1, 1:-1]  # the outermost lie outside the picture


def _fill(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    assert conv.bias is not None and conv.weight.shape == weight.shape
    with torch.no_grad():
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)
    conv.requires_grad_(False)
