"""Muon for the matrices inside the blocks, AdamW for everything else, behind torch's one interface of an optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

MOMENTUM = 0.95
"""Of Muon's running mean of the gradient; Jordan's own value."""


class MuonWithAdamW(torch.optim.Optimizer):
    """Two of torch's optimizers that share one list of groups and one state.

    So whatever a caller does to this one (a new rate for every group, `state_dict`, a GradScaler) reaches both.

    Muon (Jordan 2024, kellerjordan.github.io/posts/muon) steps along the nearest half-orthogonal matrix to the mean
    gradient, found in five Newton-Schulz iterations in bfloat16. The step of an A×B matrix is scaled by
    0.2·sqrt(max(A, B)), which gives it the RMS of AdamW's (Liu et al. 2025, arXiv 2502.16982, section 2.2): one
    learning rate and one weight decay serve both.

    Args:
        hidden: matrices for Muon; they become the first group, `hidden`.
        adamw: AdamW over all other parameters; its groups follow.
    """

    def __init__(
        self, hidden: list[nn.Parameter], adamw: torch.optim.AdamW, *, learning_rate: float, weight_decay: float
    ) -> None:
        self._adamw = adamw
        self._muon = torch.optim.Muon(
            [{"name": "hidden", "params": hidden}], lr=learning_rate, weight_decay=weight_decay, momentum=MOMENTUM,
            nesterov=True, adjust_lr_fn="match_rms_adamw",
        )  # fmt: skip
        super().__init__([*self._muon.param_groups, *adamw.param_groups], defaults={})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Loading a state replaces groups and state by new ones, so that the two must be told."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        self._muon.param_groups, self._adamw.param_groups = self.param_groups[:1], self.param_groups[1:]
        self._muon.state = self._adamw.state = self.state

    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both, or of neither where `found_inf` says that the gradients are not to be used.

        AdamW's fused kernel obeys that on the device; Muon has none that does, so here the host looks, and waits.
        """
        found_inf = getattr(self, "found_inf", None)
        if found_inf is not None and bool(found_inf):
            return
        self._muon.step()
        self._adamw.step()
