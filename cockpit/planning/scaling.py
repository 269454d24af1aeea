"""Chinchilla: how good a model of N parameters after D tokens can be, and the best N and D for so much arithmetic.

L(N, D) = E + A / N^α + B / D^β (Hoffmann et al. 2022, equation 2), with C ≈ 6·N·D the FLOPs of training. The constants
are those of Besiroglu et al. 2024 ("Chinchilla Scaling: A replication attempt", section 3), who fitted the paper's own
points again: the ones that the paper prints for its third approach ask for far more tokens a parameter than the 20 of
its other two. They hold for Chinchilla's data and tokenizer: losses elsewhere are offset, but what is better, and
where it stops paying, carries over.
"""

from __future__ import annotations

from dataclasses import dataclass

TOKENS_PER_PARAMETER = 20.0
"""Chinchilla's rule of thumb (Hoffmann et al. 2022, table 3: 20.2 for 400 M parameters)."""


@dataclass(frozen=True)
class Law:
    """The constants of L(N, D), and where they are from."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    source: str

    def loss(self, parameters: float, tokens: float) -> float:
        """Loss in nats/token of Chinchilla's data."""
        return self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta

    def best(self, flops: float) -> tuple[float, float]:
        """(parameters, tokens) of the least loss with 6·N·D = `flops` (Hoffmann et al. 2022, equation 4)."""
        scale = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        parameters = scale * (flops / 6) ** (self.beta / (self.alpha + self.beta))
        return parameters, flops / 6 / parameters


LAW = Law(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658, source="Besiroglu et al. 2024, refit of Chinchilla")
AS_PRINTED = Law(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28, source="Hoffmann et al. 2022, equation 10")


def chinchilla_tokens(parameters: float) -> float:
    """Tokens that suit a model: 20 a parameter."""
    return TOKENS_PER_PARAMETER * parameters


def training_flops(parameters: float, tokens: float) -> float:
    """6·N·D, without the attention's share (Kaplan et al. 2020, section 2.1)."""
    return 6.0 * parameters * tokens


def budget_flops(peak_flops: float, share: float, seconds: float) -> float:
    """FLOPs that a device does in so many seconds at a share 0…1 of its peak."""
    return peak_flops * share * seconds
