import json
import subprocess
import sys

import pytest

import mixedfit as mf
from mixedfit.cli import main

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "sleep.csv"
    mf.datasets.load("sleepstudy").to_csv(path, index=False)
    return path


def test_fit_prints_the_summary(capsys):
    assert main(["fit", FORMULA, "sleepstudy"]) == 0
    fit = mf.lmer(FORMULA, mf.datasets.load("sleepstudy"))
    assert capsys.readouterr().out.strip() == str(fit.summary())


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_files(tmp_path, capsys, suffix):
    data = mf.datasets.load("sleepstudy")
    path = tmp_path / f"sleep{suffix}"
    if suffix == ".parquet":
        data.to_parquet(path)
    else:
        data.to_csv(path, index=False)
    assert main(["fit", FORMULA, str(path)]) == 0
    assert "1743.6283" in capsys.readouterr().out


def test_options_reach_the_fit(csv, capsys):
    arguments = ["fit", FORMULA, str(csv), "--ml", "--subset", "Days >= 2", "--json", "-"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    fit = mf.lmer(FORMULA, mf.datasets.load("sleepstudy"), method="ML", subset="Days >= 2")
    assert result["method"] == "ML"
    assert result["nobs"] == 144
    assert result["llf"] == pytest.approx(fit.llf)
    assert result["fixed"][1]["term"] == "Days"
    assert result["fixed"][1]["std_error"] == pytest.approx(fit.bse["Days"])
    assert [row["group"] for row in result["random"]] == ["Subject"] * 3 + ["Residual"]
    assert result["status"] == "optimal"


def test_json_and_html_go_to_files(csv, tmp_path, capsys):
    json_file, html_file = tmp_path / "out.json", tmp_path / "out.html"
    arguments = ["--json", str(json_file), "--html", str(html_file)]
    assert main(["fit", FORMULA, str(csv), *arguments]) == 0
    assert json.loads(json_file.read_text())["ngroups"] == {"Subject": 18}
    assert html_file.read_text().startswith("<!DOCTYPE html>")
    assert "Fixed effects" in capsys.readouterr().out


def test_degrees_of_freedom(capsys):
    assert main(["fit", FORMULA, "sleepstudy", "--ddf", "kenward-roger"]) == 0
    assert "by Kenward and Roger's method" in capsys.readouterr().out
    assert main(["fit", FORMULA, "sleepstudy", "--ddf", "normal", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ddf"] == "normal"
    assert {"term", "estimate", "std_error", "df", "t", "p_value"} <= set(result["fixed"][0])
    assert main(["fit", FORMULA, "sleepstudy", "--ml", "--ddf", "kenward-roger"]) == 2
    assert "method='REML'" in capsys.readouterr().err


def test_datasets(capsys):
    assert main(["datasets"]) == 0
    listing = capsys.readouterr().out
    assert all(name in listing for name in mf.datasets.list())
    assert main(["datasets", "sleepstudy"]) == 0
    assert "Belenky" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", FORMULA, "sleepstudyy"], "did you mean 'sleepstudy'"),
        (["fit", FORMULA, "nosuch.csv"], "no file 'nosuch.csv'"),
        (["fit", "Reaction ~ Dayz + (1 | Subject)", "sleepstudy"], "no column 'Dayz'"),
        (["fit", "Reaction ~ Days", "sleepstudy"], "no random term"),
        (["datasets", "sleep"], "no data set 'sleep'"),
        (["fit", FORMULA, "sleepstudy", "--html", "/nosuch/folder/x.html"], "cannot be written"),
    ],
)
def test_mistakes_are_one_line_and_status_two(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("name", "message"), [("a.txt", "neither"), ("a.csv", "cannot be read")])
def test_files_that_cannot_be_read(tmp_path, capsys, name, message):
    path = tmp_path / name
    path.write_bytes(b"")
    assert main(["fit", FORMULA, str(path)]) == 2
    assert message in capsys.readouterr().err


def test_as_a_module():
    command = [sys.executable, "-m", "mixedfit", "datasets", "rail"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Rail" in done.stdout


def test_a_folder_is_no_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "dyestuff").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "Yield ~ 1 + (1 | Batch)", "dyestuff"]) == 0
    assert "Batch 6" in capsys.readouterr().out
