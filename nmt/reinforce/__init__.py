"""Learning by REINFORCE: one learner for all that is chosen in steps and rewarded at the end."""

from nmt.reinforce.learner import Reinforce

__all__ = ["Reinforce"]
