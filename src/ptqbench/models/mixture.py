"""The input sites of a mixture of experts, from the names that its checkpoint gives them."""

from __future__ import annotations

from ptqbench.models.adapter import Producer, Site

ROUTER = "a router's choices are discrete: it is a thousandth of the weights"


def mixture_sites(
    experts: str,
    names: tuple[str, str, str],
    n_experts: int,
    norm: str,
    readers: tuple[str, ...],
    shared: str | None = None,
) -> tuple[Site, ...]:
    """Sites of ``<experts>.<e>.<name>`` for ``names`` (gate, up, down), after the one that all tokens go through.

    ``mlp`` sees every token: the float ``readers`` (router and shared expert's gate) and gate and up of the ``shared``
    experts, if there are any. ``mlp.<e>`` and ``mlp_out.<e>`` see what is routed to expert e. All of ``mlp`` and
    ``mlp.<e>`` read one ``norm``, so that they share one scale; an expert's down folds into its own up.
    """
    gate, up, down = names
    source = Producer("norm", norm)
    own = (f"{shared}.gate_proj", f"{shared}.up_proj") if shared else ()
    first = [Site("mlp", own, source, reads_stream=True, readers=readers)]
    second = [Site("mlp_out", (f"{shared}.down_proj",), Producer("linear", f"{shared}.up_proj"))] if shared else []
    for expert in range(n_experts):
        of = f"{experts}.{expert}"
        first.append(Site(f"mlp.{expert}", (f"{of}.{gate}", f"{of}.{up}"), source, reads_stream=True, routed="mlp"))
        second.append(Site(f"mlp_out.{expert}", (f"{of}.{down}",), Producer("linear", f"{of}.{up}"), routed="mlp"))
    return (*first, *second)
