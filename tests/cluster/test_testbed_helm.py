"""Helm of the testbed installs a chart into it."""

from __future__ import annotations

CHART = "apiVersion: v2\nname: trivial\nversion: 1.2.3\n"
TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-settings}
data: {greeting: {{ .Values.greeting | quote }}}
"""


def test_version(testbed):
    assert testbed.run([testbed.program("helm"), "version", "--short"]).stdout.startswith("v3.19.0")


def test_a_chart_is_installed_and_removed(testbed, namespace, tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text(CHART)
    (tmp_path / "values.yaml").write_text("greeting: hello\n")
    (tmp_path / "templates" / "settings.yaml").write_text(TEMPLATE)
    helm = [testbed.program("helm"), f"--namespace={namespace}"]
    testbed.run([*helm, "install", "one", str(tmp_path), "--set=greeting=good day", "--wait"])
    settings = testbed.get("configmap", "one-settings", f"--namespace={namespace}")
    assert settings["data"] == {"greeting": "good day"}
    assert "trivial-1.2.3" in testbed.run([*helm, "list"]).stdout
    testbed.run([*helm, "uninstall", "one"])
    assert "one-settings" not in testbed.kubectl("get", "configmaps", f"--namespace={namespace}")
