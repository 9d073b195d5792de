# one full-precision pass; shared by every method, bit-width and combination
rule statistics:
    input:
        model=rules.prepare.output,
        calibration=rules.calibrate.output,
    output:
        f"{RESULTS}/statistics/{{model}}/{{calibration}}/manifest.json",
    log:
        f"{LOGS}/statistics/{{model}}/{{calibration}}.log",
    conda:
        "../../envs/ptqbench.yaml"
    threads: PASS_THREADS
    resources:
        gpu=1,
    params:
        spec=specification("statistics", "model", "calibration"),
        code=code("statistics", "model", "calibration"),
        env=environment,
    shell:
        "OMP_NUM_THREADS={threads} python -m ptqbench.stages.statistics --spec {params.spec:q} "
        "--model {input.model} --calibration {input.calibration} --out {output} > {log} 2>&1"
