"""Pictures of architectures."""

import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from torch import nn

from ddpnas import SearchSpace, list_spaces
from ddpnas.errors import OptionError

from ..conftest import published_space

SVG = "{http://www.w3.org/2000/svg}"
SMALL = {"darts": {"channels": 2, "cells": 3, "input_shape": (3, 8, 8)}}


def texts(picture):
    return [element.text for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", list_spaces())
def test_every_space_is_drawn_within_the_picture(name):
    space = published_space(name, **SMALL.get(name, {}))
    picture = space.draw(space.sample(np.random.default_rng(0)), layout="own")
    root = ElementTree.fromstring(picture)
    assert root.tag == f"{SVG}svg" and picture._repr_svg_() == picture
    width, height = float(root.get("width")), float(root.get("height"))
    for element in root.iter(f"{SVG}text"):
        assert 0 <= float(element.get("x")) <= width and float(element.get("y")) >= 0
    bottoms = [
        float(e.get("y")) + float(e.get("height")) for e in root.iter(f"{SVG}rect") if e.get("y")
    ]
    assert all(bottom <= height for bottom in bottoms)


def test_a_cell_shows_its_nodes_and_the_edges_that_are_something():
    space = published_space("nasbench201")
    cell = space.parse(
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
    )
    shown = texts(space.draw(cell, layout="own"))
    assert shown == ["nor_conv_3x3", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", *"0123"]


def test_both_cells_of_darts_are_named():
    space = published_space("darts", **SMALL["darts"])
    shown = texts(space.draw(space.sample(np.random.default_rng(0))))
    assert "normal" in shown and "reduce" in shown


def test_a_chain_shows_what_matters_and_escapes_names():
    def network(choose):
        def inner():
            return choose("a<b", {"x": lambda: nn.Linear(4, 4), "y": nn.Identity})

        return choose("outer", {"plain": nn.Identity, "R&D": inner})

    space = SearchSpace(network, (4,))
    assert texts(space.draw({"outer": "R&D", "a<b": "x"})) == ["outer", "R&D", "a<b", "x"]
    assert texts(space.draw({"outer": "plain", "a<b": "x"})) == ["outer", "plain"]


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not installed")
def test_graphviz_draws_the_same_cell_where_it_is_installed():
    space = published_space("darts", **SMALL["darts"])
    cells = space.sample(np.random.default_rng(0))
    own, graphviz = (space.draw(cells, layout=layout) for layout in ("own", "graphviz"))
    assert sorted(texts(own)) == sorted(texts(graphviz))
    assert space.draw(cells) == graphviz and graphviz.startswith("<svg")


def test_without_graphviz_cells_have_a_layout_of_our_own(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    space = published_space("nasbench201")
    cell = space.sample(np.random.default_rng(0))
    assert space.draw(cell) == space.draw(cell, layout="own")
    with pytest.raises(OptionError, match="or give 'own'"):
        space.draw(cell, layout="graphviz")
