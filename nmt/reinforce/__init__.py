"""REINFORCE: training policies whose decisions are rewarded only at the end."""

from nmt.reinforce.learner import Reinforce

__all__ = ["Reinforce"]
