# one cell: every linear of a model as codes
rule quantize:
    input:
        model=rules.prepare.output,
        calibration=rules.calibrate.output,
        statistics=rules.statistics.output,
    output:
        f"{RESULTS}/quantized/{{model}}/{{calibration}}/{{method}}/{{scheme}}/manifest.json",
    log:
        f"{LOGS}/quantized/{{model}}/{{calibration}}/{{method}}/{{scheme}}.log",
    conda:
        "../../envs/ptqbench.yaml"
    threads: THREADS
    resources:
        gpu=1,
    params:
        spec=specification("quantize", *CELL),
        code=code("quantize"),
        env=environment,
    shell:
        "OMP_NUM_THREADS={threads} python -m ptqbench.stages.quantize --spec {params.spec:q} "
        "--model {input.model} --calibration {input.calibration} --statistics {input.statistics} --out {output} > {log} 2>&1"
