"""The data file of the paper's tables against values that were typed from the paper once more, here."""

from __future__ import annotations

from typing import get_args

import pytest

from cacl.errors import UserError
from cacl.experiments.reproduce.paper_tables import PaperRow, Pretraining, SetName, paper_table, paper_tables
from cacl.experiments.reproduce.scale import scale_of
from cacl.presets import ABLATIONS
from cacl.settings import METHODS, Model

COUNTS = {"table1": 8, "table2": 4, "table3": 3, "table4": 12, "table5": 25, "fig3": 1}


def own(one: PaperRow) -> bool:
    return one.ours is not None and one.ours.is_papers


def row(table: str, name: str, *facts: str) -> PaperRow:
    (found,) = [one for one in paper_table(table).rows if one.name == name and set(facts) <= set(one.facts.values())]
    return found


@pytest.mark.parametrize(
    ("table", "name", "facts", "on", "numbers"),
    [
        ("table1", "VCOP", (), "UCF101", (12.5, 29.0, 39.0, 50.6, 66.9)),
        ("table1", "SDP*", (), "UCF101", (17.2, 34.6, 45.7, 57.8, 74.3)),
        ("table1", "SDP", (), "UCF101", (22.1, 40.6, 50.3, 61.2, 75.5)),
        ("table1", "V-MoCo+T", (), "UCF101", (39.1, 53.3, 61.8, 72.2, 85.0)),
        ("table1", "SDP+V-MoCo+T", (), "UCF101", (43.2, 61.1, 69.9, 78.2, 88.2)),
        ("table2", "(Gq,Gk), (Gq,Tq)", (), "UCF101", (37.8, 54.9, 64.2, 73.8, 84.4)),
        ("table2", "(Gq,Gk), (Gq,Tq), (Gq,Tk)", (), "UCF101", (39.3, 58.2, 67.0, 75.8, 85.6)),
        ("table3", "C3D", (), "UCF101", (0.8383, 0.7844, 0.6487, 0.8534)),
        ("table3", "R(2+1)D", (), "UCF101", (0.8174, 0.7773, 0.6374, 0.8430)),
        ("table3", "R3D", (), "UCF101", (0.8128, 0.7639, 0.6280, 0.8427)),
        ("table4", "RSPNet", (), "UCF101", (36.0, 56.7, 66.5, 76.3, 87.7)),
        ("table4", "CACL", ("C3D",), "HMDB51", (17.3, 40.2, 53.8, 68.0, 85.2)),
        ("table4", "CACL*", (), "UCF101", (44.2, 63.1, 71.9, 80.4, 89.4)),
        ("table4", "CACL", ("R3D",), "UCF101", (41.1, 59.2, 67.3, 75.2, 85.9)),
        ("table4", "Pace Pred", ("R(2+1)D",), "HMDB51", (12.9, 31.6, 43.2, 58.0, 77.1)),
        ("table4", "CACL", ("R(2+1)D",), "HMDB51", (16.4, 38.0, 49.6, 63.4, 81.1)),
        ("table5", "CACL", ("C3D", "UCF101"), "UCF101", (77.2, None, None)),
        ("table5", "CACL", ("C3D", "Kinetics-400"), "UCF101", (77.5, None, None)),
        ("table5", "CACL", ("R3D",), "HMDB51", (43.8, None, None)),
        ("table5", "CACL", ("R(2+1)D",), "UCF101", (82.5, None, None)),
        ("table5", "VideoMoCo (CVPR'21)", ("R(2+1)D",), "HMDB51", (49.2, None, None)),
        ("table5", "Pace Pred (ECCV'20)", ("Kinetics-400",), "UCF101", (77.1, None, None)),
    ],
)
def test_the_numbers_are_the_papers(
    table: str, name: str, facts: tuple[str, ...], on: SetName, numbers: tuple[float | None, ...]
) -> None:
    assert row(table, name, *facts).paper[on] == numbers


def test_every_table_is_there_and_whole() -> None:
    assert {key: len(table.rows) for key, table in paper_tables().items()} == COUNTS
    for table in paper_tables().values():
        names = [(one.name, *one.facts.values()) for one in table.rows]
        assert len(set(names)) == len(names), table.key
        for one in table.rows:
            assert one.paper
            assert set(one.paper) <= set(get_args(SetName))
            for numbers in one.paper.values():
                assert len(numbers) == len(table.columns)
                if table.evaluation == "retrieval":  # recall grows with k
                    assert list(numbers) == sorted(numbers, key=lambda value: value or 0)
                    assert None not in numbers


def test_what_is_trained_exists() -> None:
    networks = get_args(Model.model_fields["network"].annotation)
    for table in paper_tables().values():
        for wanted in table.pretrainings:
            assert wanted.method in (ABLATIONS if wanted.is_papers else METHODS)
            assert wanted.network in networks
    methods = [one.ours.method for one in paper_table("table1").rows if one.ours is not None]
    assert methods == ["vcop", "prp", "sdp*", "sdp", "v-moco", "sdp+v-moco", "v-moco+t", "cacl"]
    assert [one.ours.method for one in paper_table("table2").rows if one.ours] == [
        "sdp+v-moco",
        "pairs2",
        "pairs3",
        "cacl",
    ]
    ours = {(one.facts["net"], one.ours.network, one.ours.videos) for one in paper_table("table4").rows if own(one)}
    assert ours == {
        ("C3D", "c3d", "UCF101"),
        ("C3D", "c3d", "Kinetics-400"),
        ("R3D", "r3d10", "UCF101"),
        ("R(2+1)D", "r2plus1d10", "UCF101"),
    }
    assert ours == {
        (one.facts["net"], one.ours.network, one.ours.videos) for one in paper_table("table5").rows if own(one)
    }


OTHERS = {
    "VCOP": "vcop",
    "PRP": "prp",
    "Pace Pred": "pace+context",
    "DSM": "dsm",
    "RSPNet": "rspnet",
    "Puzzle": "st-puzzle",
    "VCP": "vcp",
    "MoCo+BE": "moco+be",
    "IIC": "iic",
    "VideoMoCo": "videomoco",
}
NETWORKS = {"C3D": ("c3d", "c3d"), "R3D": ("r3d10", "r3d18"), "R(2+1)D": ("r2plus1d10", "r2plus1d18")}


def test_rows_of_others_are_their_methods_networks_and_data_sets() -> None:
    """By the row's own words: its name, net, depth (10 where it says none) and, of recognition, data set."""
    seen = set()
    for table in paper_tables().values():
        for one in table.rows:
            assert one.ours is not None
            papers = one.name.startswith(("CACL", "SDP", "V-MoCo", "(Gq", "C3D", "R3D", "R(2+1)D"))
            assert one.ours.is_papers == papers, (table.key, one.name)
            if not papers:
                name = one.name.split(" (")[0]
                network = NETWORKS[one.facts["net"]][one.facts.get("depth") == "18"]
                pretrained = one.facts["pretrained"] if table.evaluation == "recognition" else "UCF101"
                assert bool(one.elsewhere) == ((table.key, name) == ("table4", "RSPNet"))
                assert one.ours == Pretraining(OTHERS[name], network, pretrained), (table.key, one.name)
                assert not one.ours.uses_transformer
                seen.add(name)
    assert seen == set(OTHERS)


def test_what_has_a_preset_of_its_authors_is_run_with_it_at_the_papers_scale() -> None:
    paper, tiny = scale_of("paper"), scale_of("tiny")
    assert {name: paper.preset_of(name) for name in OTHERS.values()} == {
        name: "paper" if name == "st-puzzle" else "published" for name in OTHERS.values()
    }
    assert {paper.preset_of(name) for name in ABLATIONS} == {"paper"}
    assert {tiny.preset_of(name) for name in (*OTHERS.values(), *ABLATIONS)} == {"small"}


def test_names_and_needs() -> None:
    table4 = paper_table("table4")
    assert [wanted.name for wanted in table4.pretrainings if wanted.is_papers] == [
        "cacl-c3d-ucf101",
        "cacl-r3d10-ucf101",
        "cacl-r2plus1d10-ucf101",
        "cacl-c3d-kinetics400",  # after those that train the frame encoder
    ]
    assert set(table4.needed_sets) == {"UCF101", "HMDB51", "Kinetics-400"}
    assert paper_table("table1").needed_sets == ("UCF101",)
    assert {one.name for one in paper_table("table1").pretrainings if one.uses_transformer} == {
        "v-moco+t-c3d-ucf101",
        "cacl-c3d-ucf101",
    }
    assert "sdp-star-c3d-ucf101" in {one.name for one in paper_table("table1").pretrainings}


def test_another_word_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"tabel3 is no table of the paper; .* Did you mean .table3"):
        paper_table("tabel3")
