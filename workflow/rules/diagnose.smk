DIAGNOSES = [
    f"{RESULTS}/diagnosis/{cell.path}/manifest.json" for cell in PLAN.diagnosed
]


# why a cell scores as it does; only for grid entries that ask for it
rule diagnose:
    input:
        model=rules.prepare.output,
        calibration=rules.calibrate.output,
        statistics=rules.statistics.output,
        quantized=codes,
    output:
        f"{RESULTS}/diagnosis/{{model}}/{{calibration}}/{{method}}/{{scheme}}/manifest.json",
    log:
        f"{LOGS}/diagnosis/{{model}}/{{calibration}}/{{method}}/{{scheme}}.log",
    conda:
        "../../envs/ptqbench.yaml"
    threads: THREADS
    resources:
        gpu=1,
    params:
        spec=specification("diagnose", *CELL),
        code=code("diagnose", *CELL),
        held_out=held_out,
        env=environment,
    shell:
        "OMP_NUM_THREADS={threads} python -m ptqbench.stages.diagnose --spec {params.spec:q} --model {input.model} "
        "--calibration {input.calibration} --statistics {input.statistics} --quantized {input.quantized} "
        "--out {output} > {log} 2>&1"
