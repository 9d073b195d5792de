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


# one suite on one checkpoint: adding a suite touches nothing else
rule evaluate:
    input:
        checkpoint=f"{RESULTS}/packed/{{model}}/{{calibration}}/{{method}}/{{scheme}}/manifest.json",
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
        code=code("evaluate"),
        documents=documents,
        env=environment,
        server=server_environment,
    shell:
        "OMP_NUM_THREADS={threads} python -m ptqbench.stages.evaluate --spec {params.spec:q} "
        "--checkpoint {input.checkpoint} --gpus {params.gpus} --server {input.server} --server-log {log.server} "
        "--out {output} > {log.stage} 2>&1"
