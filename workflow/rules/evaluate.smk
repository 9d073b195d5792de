EVALUATIONS = [
    f"{RESULTS}/eval/{cell.path}/{suite}.json" for cell, suite in PLAN.evaluations
]


# the environment of a server, apart because vLLM pins other versions; only made where a config asks for vllm
rule serve_environment:
    output:
        str(BASE / ".venv-serve-{kind}/ptqbench.json"),
    log:
        f"{LOGS}/serve-{{kind}}.log",
    wildcard_constraints:
        kind="cpu|cuda",
    conda:
        "../../envs/ptqbench.yaml"
    params:
        lock=serve_lock,
        digest=serve_digest,
    shell:
        "python -m ptqbench.stages.serve_environment --spec '{{}}' --lock {params.lock:q} --out {output} > {log} 2>&1"


# the float model's predictions on a suite's windows: made once, and compared with by every cell of the model
rule reference:
    input:
        model=rules.prepare.output,
    output:
        f"{RESULTS}/reference/{{model}}/{{suite}}/manifest.json",
    log:
        f"{LOGS}/reference/{{model}}/{{suite}}.log",
    conda:
        "../../envs/ptqbench.yaml"
    threads: THREADS
    resources:
        gpu=gpu_jobs,
    params:
        gpus=gpus,
        spec=specification("reference", "model", "suite"),
        code=code("reference", "model", "suite"),
        documents=documents,
        env=environment,
    shell:
        "OMP_NUM_THREADS={threads} python -m ptqbench.stages.reference --spec {params.spec:q} --model {input.model} "
        "--gpus {params.gpus} --out {output} > {log} 2>&1"


# one suite on one checkpoint: adding a suite touches nothing else
rule evaluate:
    input:
        checkpoint=f"{RESULTS}/packed/{{model}}/{{calibration}}/{{method}}/{{scheme}}/manifest.json",
        reference=reference_of,
        float_model=float_model,
        server=server_marker,
    output:
        f"{RESULTS}/eval/{{model}}/{{calibration}}/{{method}}/{{scheme}}/{{suite}}.json",
    log:
        stage=f"{LOGS}/eval/{{model}}/{{calibration}}/{{method}}/{{scheme}}/{{suite}}.log",
        server=f"{LOGS}/eval/{{model}}/{{calibration}}/{{method}}/{{scheme}}/{{suite}}.server.log",
    conda:
        "../../envs/ptqbench.yaml"
    threads: THREADS
    resources:
        gpu=gpu_jobs,
    params:
        gpus=gpus,
        spec=specification("evaluate", *CELL, "suite"),
        code=code("evaluate", *CELL, "suite"),
        documents=documents,
        env=environment,
        server=server_environment,
    shell:
        "OMP_NUM_THREADS={threads} python -m ptqbench.stages.evaluate --spec {params.spec:q} "
        "--checkpoint {input.checkpoint} --reference {input.reference} --model {input.float_model} "
        "--gpus {params.gpus} --server {input.server} --server-log {log.server} "
        "--out {output} > {log.stage} 2>&1"
