"""The Indexed Job: of Kubernetes' schema, which `.ci/validators` fetches, and what is promised."""

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from testbed.cli.kubernetes import manifest
from testbed.errors import UsageError

VALIDATORS = Path(__file__).resolve().parents[2] / "out" / "validators"


def job(*words: str, shards: int = 8) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(
        manifest("registry.example/nat:1", shards, "nat", "results", words)
    )
    return value


@pytest.fixture(scope="module")
def schema() -> Any:
    wheel = next(VALIDATORS.glob("kubernetes_validate-*.whl"), None)
    if wheel is None:
        pytest.skip("NO SCHEMA, the manifest stays unvalidated: run .ci/validators")
    with zipfile.ZipFile(wheel) as packed:
        name = max(n for n in packed.namelist() if n.endswith("-local-strict/_definitions.json"))
        shared = json.loads(packed.read(name))
    return shared | {"$ref": "#/$defs/io.k8s.api.batch.v1.Job"}


def test_the_manifest_is_of_the_schema(schema: Any) -> None:
    jsonschema.validate(job("--profiles", "nine"), schema)


@pytest.mark.parametrize("change", [{"completions": "8"}, {"completionMode": 3}, {"shards": 8}])
def test_the_schema_refuses_a_broken_manifest(schema: Any, change: dict[str, Any]) -> None:
    value = job()
    value["spec"] |= change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema)


def test_every_index_is_a_shard() -> None:
    spec = job(shards=5)["spec"]
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", 5)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy asks for it
    (container,) = spec["template"]["spec"]["containers"]
    assert container["name"] == spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"]
    script = container["command"][2].replace("exec testbed", "echo")
    words = ["sh", "-c", script, "testbed", "--peers", "a b"]
    done = subprocess.run(
        words, env={"JOB_COMPLETION_INDEX": "4"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "matrix --shard 5/5 --out /results/shard-5 --peers a b\n"


@pytest.mark.parametrize("word", ["it's", 'say "no"', "a: b", "{{ x }}", "- x", "é", "<&>", "$(x)"])
def test_words_arrive_as_they_are(word: str) -> None:
    (container,) = job("--select", word)["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["--select", word]


@pytest.mark.parametrize("words", [("--shard", "1/2"), ("--shard=1/2",), ("--out=x",), ("-o", "x")])
def test_what_the_job_says_itself_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="is the Job's to say"):
        job(*words)


@pytest.mark.parametrize("name", ["", "Nat", "-nat", "a b", "x" * 64])
def test_names_that_kubernetes_refuses_are_refused_before(name: str) -> None:
    with pytest.raises(UsageError, match="is no name of Kubernetes"):
        manifest("image", 2, name, "results", ())
