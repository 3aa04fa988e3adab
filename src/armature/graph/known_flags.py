"""Flags of the field's programs that Armature knows, by module, and which names mean the same thing.

Sources: `dynamo.frontend` and `dynamo.mocker` of ai-dynamo 1.6.1 (their argument parsers), `dynamo.trtllm` of its
`backend_args.py`, vLLM's `EngineArgs`, SGLang's `ServerArgs`, and every manifest under `tests/data/conformance`.
The engines grow flags with every release, so absence here proves nothing alone: preflight objects to an unknown
flag only when a known one is close enough that a slip is the likelier story.
"""

from __future__ import annotations

__all__ = ["ALIASES", "KNOWN"]

ALIASES: dict[str, dict[str, str]] = {
    "vllm": {
        "-tp": "--tensor-parallel-size",
        "--tp": "--tensor-parallel-size",
        "-pp": "--pipeline-parallel-size",
        "--pp": "--pipeline-parallel-size",
        "-dp": "--data-parallel-size",
        "--dp": "--data-parallel-size",
        "-dpl": "--data-parallel-size-local",
        "-dpr": "--data-parallel-start-rank",
        "-dpa": "--data-parallel-address",
        "-dpp": "--data-parallel-rpc-port",
        "-ep": "--enable-expert-parallel",
        "-q": "--quantization",
        "-tpsz": "--tensor-parallel-size",
    },
    "sglang": {
        "--model": "--model-path",
        "--tp": "--tp-size",
        "--tensor-parallel-size": "--tp-size",
        "--pp": "--pp-size",
        "--pipeline-parallel-size": "--pp-size",
        "--dp": "--dp-size",
        "--data-parallel-size": "--dp-size",
        "--ep": "--ep-size",
        "--expert-parallel-size": "--ep-size",
        "--nccl-init-addr": "--dist-init-addr",
        "--cuda-graph-bs-decode": "--cuda-graph-bs",
    },
    "trtllm": {
        "--model": "--model-path",
        "--publish-kv-events": "--publish-events-and-metrics",
        "--tp-size": "--tensor-parallel-size",
        "--ep-size": "--expert-parallel-size",
        "--max-seq-length": "--max-seq-len",
    },
    "mocker": {
        "--model": "--model-path",
        "--served-model-name": "--model-name",
        "--dp": "--data-parallel-size",
        "--tp": "--ais-tp-size",
        "--aic-tp-size": "--ais-tp-size",
        "--num-gpu-blocks": "--num-gpu-blocks-override",
    },
    "frontend": {"-i": "--interactive"},
}
"""Other spellings of a flag, by module; the value is the name that the readers use."""

_RUNTIME = """
    --namespace --endpoint --version --discovery-backend --request-plane --response-plane --event-plane
    --connector --dump-config-to --durable-kv-events --use-kv-events --endpoint-types --output-modalities
    --tool-call-parser --reasoning-parser --dyn-tool-call-parser --dyn-reasoning-parser --custom-jinja-template
    --exclude-tools-when-tool-choice-none --enable-local-indexer --store-kv --migration-limit --media-output-fs-url
    --disaggregation-mode --is-prefill-worker --is-decode-worker --multimodal-encode-worker --multimodal-worker
    --multimodal-decode-worker --multimodal-processor --enable-multimodal --route-to-encoder --frontend-decoding
    --model-express-url --embedding-worker
"""

_VLLM = """
    --model --served-model-name --tokenizer --tokenizer-mode --tokenizer-revision --trust-remote-code --revision
    --code-revision --download-dir --load-format --model-loader-extra-config --config-format --dtype --seed
    --hf-config-path --hf-overrides --hf-token --max-model-len --quantization --enforce-eager --max-logprobs
    --max-seq-len-to-capture --disable-sliding-window --disable-cascade-attn --skip-tokenizer-init
    --generation-config --override-generation-config --enable-sleep-mode --model-impl --runner --convert --task
    --allowed-local-media-path --tensor-parallel-size --pipeline-parallel-size --data-parallel-size
    --data-parallel-rank --data-parallel-start-rank --data-parallel-size-local --data-parallel-address
    --data-parallel-rpc-port --data-parallel-backend --data-parallel-hybrid-lb --data-parallel-external-lb
    --enable-expert-parallel --enable-eplb --eplb-config --num-redundant-experts --all2all-backend --enable-dbo
    --enable-elastic-ep --expert-placement-strategy --distributed-executor-backend --nnodes --node-rank --master-addr
    --master-port --headless --max-parallel-loading-workers --disable-custom-all-reduce --worker-cls
    --worker-extension-cls --prefill-context-parallel-size --decode-context-parallel-size --block-size
    --gpu-memory-utilization --kv-cache-memory-bytes --swap-space --kv-cache-dtype --num-gpu-blocks-override
    --enable-prefix-caching --prefix-caching-hash-algo --cpu-offload-gb --calculate-kv-scales
    --mamba-cache-dtype --mamba-ssm-cache-dtype --mamba-block-size --kv-sharing-fast-prefill --max-num-batched-tokens
    --max-num-seqs --max-num-partial-prefills --max-long-partial-prefills --long-prefill-token-threshold
    --num-lookahead-slots --scheduling-policy --enable-chunked-prefill --disable-chunked-mm-input --scheduler-cls
    --async-scheduling --stream-interval --enable-lora --max-loras --max-lora-rank --max-cpu-loras --lora-modules
    --lora-dtype --fully-sharded-loras --default-mm-loras --speculative-config --kv-transfer-config
    --kv-events-config --ec-transfer-config --compilation-config --cuda-graph-sizes --cudagraph-capture-sizes
    --max-cudagraph-capture-size --attention-backend --attention-config --limit-mm-per-prompt --mm-processor-kwargs
    --mm-processor-cache-gb --mm-encoder-tp-mode --skip-mm-profiling --guided-decoding-backend
    --structured-outputs-config --reasoning-parser-plugin --logits-processors --show-hidden-metrics-for-version
    --otlp-traces-endpoint --collect-detailed-traces --disable-log-stats --disable-log-requests --enable-log-requests
    --additional-config --kv-offloading-size --kv-offloading-backend --device --disable-hybrid-kv-cache-manager
    --sleep-mode-level --use-vllm-tokenizer --omni --stage-configs-path --mm-prompt-template --optimization-level
    --moe-backend --performance-mode --benchmark-mode --ep-weight-filter
"""

_SGLANG = """
    --model-path --served-model-name --tokenizer-path --tokenizer-mode --tokenizer-worker-num --skip-tokenizer-init
    --load-format --model-loader-extra-config --trust-remote-code --context-length --is-embedding --revision
    --model-impl --host --port --grpc-mode --skip-server-warmup --warmups --nccl-port --dtype --quantization
    --quantization-param-path --kv-cache-dtype --enable-fp32-lm-head --mem-fraction-static --max-running-requests
    --max-queued-requests --max-total-tokens --chunked-prefill-size --max-prefill-tokens --schedule-policy
    --schedule-conservativeness --page-size --hybrid-kvcache-ratio --swa-full-tokens-ratio --disable-hybrid-swa-memory
    --radix-eviction-policy --enable-priority-scheduling --device --tp-size --pp-size --pp-max-micro-batch-size
    --pp-async-batch-depth --stream-interval --stream-output --random-seed --watchdog-timeout --soft-watchdog-timeout
    --dist-timeout --download-dir --base-gpu-id --gpu-id-step --sleep-on-idle --log-level --log-requests
    --log-requests-level --show-time-cost --enable-metrics --enable-metrics-for-all-schedulers
    --collect-tokens-histogram
    --decode-log-interval --enable-trace --otlp-traces-endpoint --kv-events-config --api-key --file-storage-path
    --enable-cache-report --reasoning-parser --tool-call-parser --chat-template --dp-size --load-balance-method
    --prefill-round-robin-balance --dist-init-addr --nnodes --node-rank --json-model-override-args
    --preferred-sampling-params --enable-lora --max-lora-rank --lora-paths --max-loras-per-batch --lora-backend
    --attention-backend --prefill-attention-backend --decode-attention-backend --sampling-backend --grammar-backend
    --mm-attention-backend --speculative-algorithm --speculative-draft-model-path --speculative-num-steps
    --speculative-eagle-topk --speculative-num-draft-tokens --speculative-token-map --ep-size --moe-a2a-backend
    --moe-runner-backend --flashinfer-mxfp4-moe-precision --enable-flashinfer-allreduce-fusion --deepep-mode
    --deepep-config --ep-num-redundant-experts --ep-dispatch-algorithm --init-expert-location --enable-eplb
    --eplb-algorithm --eplb-rebalance-num-iterations --expert-distribution-recorder-mode --moe-dense-tp-size
    --enable-deepep-moe --enable-hierarchical-cache --hicache-ratio --hicache-size --hicache-write-policy
    --hicache-io-backend --hicache-mem-layout --hicache-storage-backend --cpu-offload-gb --disable-radix-cache
    --cuda-graph-max-bs --cuda-graph-bs --disable-cuda-graph --disable-cuda-graph-padding --enable-profile-cuda-graph
    --disable-overlap-schedule --enable-mixed-chunk --enable-dp-attention --enable-dp-lm-head --enable-two-batch-overlap
    --enable-single-batch-overlap --tbo-token-distribution-threshold --enable-torch-compile --torch-compile-max-bs
    --enable-piecewise-cuda-graph --enable-nan-detection --enable-p2p-check --enable-nccl-nvls --enable-symm-mem
    --enable-memory-saver --disable-custom-all-reduce --disable-outlines-disk-cache --allow-auto-truncate
    --triton-attention-num-kv-splits --num-continuous-decode-steps --delete-ckpt-after-loading
    --disable-shared-experts-fusion --disable-chunked-prefix-cache --disable-fast-image-processor
    --enable-return-hidden-states --disaggregation-mode --disaggregation-transfer-backend
    --disaggregation-bootstrap-port --disaggregation-decode-tp --disaggregation-decode-dp --disaggregation-prefill-pp
    --disaggregation-ib-device --disaggregation-decode-enable-offload-kvcache --num-reserved-decode-tokens
    --disaggregation-decode-polling-interval --enable-multimodal --mm-enable-dp-encoder --weight-version
    --custom-weight-loader --use-sglang-tokenizer --disagg-config --disagg-config-key --image-diffusion-worker
    --video-generation-worker --config --crash-dump-folder --enable-deterministic-inference --kt-method
"""

_TRTLLM = """
    --model-path --served-model-name --tensor-parallel-size --pipeline-parallel-size --expert-parallel-size
    --enable-attention-dp --conversation-affinity --kv-block-size --gpus-per-node --max-batch-size --max-num-tokens
    --max-seq-len --max-beam-width --free-gpu-memory-fraction --extra-engine-args --override-engine-args
    --publish-events-and-metrics --load-format --model-loader-extra-config --modality --encode-endpoint
    --allowed-local-media-path --max-file-size-mb --guided-decoding-backend --disaggregation-strategy
    --next-endpoint --trust-remote-code --revision --skip-tokenizer-init
"""

_MOCKER = """
    --model-path --model-name --num-gpu-blocks-override --block-size --max-model-len --max-num-seqs
    --max-num-batched-tokens --enable-prefix-caching --enable-chunked-prefill --preemption-mode --speedup-ratio
    --decode-speedup-ratio --data-parallel-size --startup-time --planner-profile-data --ais-perf-model
    --gpu-memory-utilization --mem-fraction-static --free-gpu-memory-fraction --ais-system --ais-backend
    --ais-backend-version --ais-tp-size --ais-moe-tp-size --ais-moe-ep-size --ais-attention-dp-size --ais-nextn
    --ais-nextn-accept-rates --ais-mtp-seed --ais-perf-config --num-workers --reasoning --response-replay-trace-path
    --engine-type --sglang-schedule-policy --sglang-page-size --sglang-max-prefill-tokens
    --sglang-chunked-prefill-size --sglang-clip-max-new-tokens --sglang-schedule-conservativeness --sglang-generate
    --trtllm-capacity-scheduler-policy --extra-engine-args --zmq-kv-events-ports --zmq-replay-ports
    --bootstrap-ports --kv-transfer-bandwidth --kv-transfer-timing-mode --kv-cache-dtype --kv-bytes-per-token
    --num-host-blocks --stagger-delay --trust-remote-code
"""

_FRONTEND = """
    --interactive --kv-cache-block-size --http-host --http-port --serve-indexer --tls-cert-path --tls-key-path
    --tls-client-ca-cert-path --namespace-prefix --migration-max-seq-len --model-name --model-path --metrics-prefix
    --kserve-grpc-server --grpc-metrics-port --frontend-route-extension --enable-anthropic-api
    --strip-anthropic-preamble --enable-streaming-tool-dispatch --enable-streaming-reasoning-dispatch
    --reasoning-field-name --dyn-chat-processor --dyn-debug-perf --dyn-preprocess-workers --tokenizer
    --tokenizer-fallback --trust-remote-code --admission-control --enforce-disagg --router-min-initial-workers
    --router-mode --router-session-affinity-ttl-secs --router-session-affinity-mode --active-decode-blocks-threshold
    --active-prefill-tokens-threshold --active-prefill-tokens-threshold-frac --load-aware --kv-overlap-score-weight
    --kv-events --router-kv-overlap-score-credit --router-kv-overlap-score-weight --router-prefill-load-scale
    --router-temperature --router-kv-events --router-replica-sync --router-track-active-blocks
    --router-track-output-blocks --router-assume-kv-reuse --router-track-prefill-tokens --router-ttl-secs
    --router-queue-threshold --router-policy-config --router-conditional-disagg --router-prefill-load-model
    --router-queue-policy --router-event-threads --use-remote-indexer --shared-cache-multiplier --shared-cache-type
    --router-durable-kv-events --router-predicted-ttl-secs --busy-threshold
"""

KNOWN: dict[str, frozenset[str]] = {
    "vllm": frozenset((_RUNTIME + _VLLM).split()),
    "sglang": frozenset((_RUNTIME + _SGLANG).split()),
    "trtllm": frozenset((_RUNTIME + _TRTLLM).split()),
    "mocker": frozenset((_RUNTIME + _MOCKER).split()),
    "frontend": frozenset((_RUNTIME + _FRONTEND).split()),
    "planner": frozenset(["--config"]),
}
"""Flags by module, in the spelling that `ALIASES` maps to; `--no-x` is known wherever `--x` is."""
