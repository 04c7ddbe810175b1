"""Names of settings and of documents, in all files of deploy/."""

import re
import subprocess

from files import DEPLOY, ROOT, anchors, files_below


def test_each_setting_that_is_named_exists(binary):
    documented = set(re.findall(r"COUNTERSIGN_[A-Z_]+", (ROOT / "docs/settings.md").read_text()))
    said = subprocess.run([binary, "serve", "--help"], capture_output=True, text=True).stdout
    known = documented & (set(re.findall(r"COUNTERSIGN_[A-Z_]+", said)) | {"COUNTERSIGN_MASTER_KEY"})
    wrong = []
    for path in files_below(DEPLOY):
        for name in re.findall(r"COUNTERSIGN_[A-Z_]+", path.read_text()):
            # In a sentence about several.
            if name.rstrip("_") not in known:
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert wrong == []


def test_each_document_that_is_named_exists():
    wrong = []
    for path in [*files_below(DEPLOY), ROOT / "docs/operations.md"]:
        text = path.read_text()
        for document, anchor in re.findall(r"(docs/[\w-]+\.md)(?:#([\w-]+))?", text):
            if not (ROOT / document).exists() or (anchor and anchor not in anchors((ROOT / document).read_text())):
                wrong.append(f"{path.relative_to(ROOT)}: {document}#{anchor}")
        if path.suffix == ".md":
            for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([\w-]+))?\)", text):
                there = (path.parent / target).resolve() if target else path
                if not there.exists() or (anchor and anchor not in anchors(there.read_text())):
                    wrong.append(f"{path.relative_to(ROOT)}: {target}#{anchor}")
    assert wrong == []
