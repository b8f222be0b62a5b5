"""Reaching a Ray cluster: what pipelines and engines that leave this machine have in common."""
