"""The data sets that come with the project."""

import csv
from pathlib import Path

import pytest

from bpgen.dataset import load
from bpgen.scaling import SCALINGS, Scaling

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "data"


@pytest.mark.parametrize(
    ("name", "target", "rows", "columns", "labels"),
    [
        ("iris", "species", 150, 4, ("setosa", "versicolor", "virginica")),
        ("wine", "cultivar", 178, 13, ("class_0", "class_1", "class_2")),
        ("breast_cancer", "diagnosis", 569, 30, ("benign", "malignant")),
        ("digits", "digit", 1797, 64, tuple("0123456789")),
    ],
)
def test_an_example_has_its_rows_columns_and_short_numbers(name, target, rows, columns, labels):
    path = EXAMPLES / f"{name}.csv"

    data = load(path, [target])
    train, test = data.split()

    assert data.x.shape == (rows, columns)
    assert data.labels == labels
    assert all(feature.isidentifier() and feature.islower() for feature in data.features)
    assert set(train.classes()) == set(test.classes()) == set(range(len(labels)))
    with path.open(newline="", encoding="utf-8") as file:
        assert max(len(cell) for row in list(csv.reader(file))[1:] for cell in row[:-1]) <= 9
    for kind in SCALINGS:
        assert max(Scaling.fit(data.x, kind, data.features).decimals) <= 7
