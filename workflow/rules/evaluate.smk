EVALUATIONS = [
    f"{RESULTS}/eval/{cell.path}/{suite}.json" for cell, suite in PLAN.evaluations
]


# one suite on one checkpoint: adding a suite touches nothing else
rule evaluate:
    input:
        f"{RESULTS}/packed/{{model}}/{{calibration}}/{{method}}/{{scheme}}/manifest.json",
    output:
        f"{RESULTS}/eval/{{model}}/{{calibration}}/{{method}}/{{scheme}}/{{suite}}.json",
    log:
        f"{LOGS}/eval/{{model}}/{{calibration}}/{{method}}/{{scheme}}/{{suite}}.log",
    conda:
        "../../envs/ptqbench.yaml"
    threads: THREADS
    resources:
        gpu=1,
    params:
        spec=specification("evaluate", *CELL, "suite"),
        code=code("evaluate"),
        documents=documents,
        env=environment,
    shell:
        "OMP_NUM_THREADS={threads} python -m ptqbench.stages.evaluate --spec {params.spec:q} "
        "--checkpoint {input} --out {output} > {log} 2>&1"
