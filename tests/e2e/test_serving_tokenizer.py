"""A model with files: the worker publishes where they are, the frontend tokenises and templates with them (SD-11)."""

from __future__ import annotations

import json
from pathlib import Path

import openai
import pytest
import tokenizers
from serving_harness import Serving
from tokenizers import decoders, models, pre_tokenizers, trainers

pytestmark = pytest.mark.e2e

MODEL = "org/tiny"


@pytest.fixture
def model_dir(tmp_path) -> Path:
    """A byte-level BPE tokeniser and a chat template, made here."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        ["the model reads a prompt and writes one token after another"] * 4, trainer
    )
    directory = tmp_path / "model"
    directory.mkdir()
    tokenizer.save(str(directory / "tokenizer.json"))
    template = (
        "{% if messages[0].role != 'user' %}{{ raise_exception('the user speaks first') }}{% endif %}"
        "{{ bos_token }}{% for message in messages %}{{ message.content }}{% endfor %}"
    )
    config = {"bos_token": "<s>", "chat_template": template}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


def test_the_models_own_tokeniser_and_template_are_used(tmp_path, model_dir):
    with Serving(tmp_path) as one:
        frontend = one.frontend()
        one.workers("agg", more=("--tokenizer", str(model_dir), "--speedup-ratio", "20"))
        one.until_ready()
        tokenizer = tokenizers.Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        client = openai.OpenAI(base_url=f"{one.url}/v1", api_key="none", max_retries=0)
        question = "the model reads 漢字"
        answer = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": question}], max_tokens=30
        )
        assert answer.usage.prompt_tokens == 1 + len(tokenizer.encode(question).ids)
        text = answer.choices[0].message.content
        assert len(tokenizer.encode(text).ids) == pytest.approx(30, abs=3)  # a word may be cut at the end
        assert len(text) > 40  # its tokens are longer than bytes
        with pytest.raises(openai.BadRequestError, match="the user speaks first"):
            client.chat.completions.create(model=MODEL, messages=[{"role": "system", "content": "x"}])
        assert f"tokeniser the model's own ({model_dir}" in frontend.log.read_text()


def test_a_broken_tokeniser_stops_the_worker_with_its_reason(tmp_path, model_dir):
    (model_dir / "tokenizer.json").write_text("{}")
    with Serving(tmp_path) as one:
        with pytest.raises(AssertionError, match="is not a tokeniser"):
            one.workers("agg", more=("--tokenizer", str(model_dir)))
        assert one.processes[0].popen.wait(30) == 1
