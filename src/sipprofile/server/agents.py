"""The installed agents, found by the entry-point group ``sipprofile.agents``."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..agents.base import Agent

GROUP = "sipprofile.agents"


def load_agents(log: Any) -> dict[str, Agent]:
    """Every agent by the name of its profile type.

    A plug-in that cannot be loaded is logged and left out: the others' registrations must not depend on it.
    """
    agents: dict[str, Agent] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        agent = _loaded(entry, log)
        if agent is None:
            continue
        name = agent.type.name
        if name in agents:
            log.error("agent left out", agent=entry.value, problem=f"the type {name!r} has an agent already")
            continue
        agents[name] = agent
    if "ietf" not in agents:  # run from a source tree, without installed metadata
        from ..agents.ietf import IetfAgent

        agents["ietf"] = IetfAgent()
    return agents


def _loaded(entry: EntryPoint, log: Any) -> Agent | None:
    try:
        agent = entry.load()()
        if not isinstance(agent, Agent):
            raise TypeError("it is not a sipprofile.agents.base.Agent")
        agent.describe()
    except Exception as error:  # whatever a stranger's code raises
        log.error("agent left out", agent=entry.value, problem=f"{type(error).__name__}: {error}")
        return None
    return agent
