SCATTER = config.get("scatter", 1)
CODES = f"{RESULTS}/quantized/{{model}}/{{calibration}}/{{method}}/{{scheme}}"


# one cell: every linear of a model as codes, or the parts that several jobs made of it
rule quantize:
    input:
        model=rules.prepare.output,
        calibration=rules.calibrate.output,
        statistics=statistics_of,
        parts=[
            f"{CODES}/part-{part}-of-{SCATTER}/manifest.json"
            for part in range(SCATTER)
            if SCATTER > 1
        ],
    output:
        f"{CODES}/manifest.json",
    log:
        f"{LOGS}/quantized/{{model}}/{{calibration}}/{{method}}/{{scheme}}.log",
    conda:
        "../../envs/ptqbench.yaml"
    threads: THREADS
    resources:
        gpu=1 if SCATTER == 1 else 0,
    params:
        part="",
        spec=specification("quantize", *CELL),
        code=code("quantize", *CELL),
        env=environment,
    shell:
        "OMP_NUM_THREADS={threads} python -m ptqbench.stages.quantize --spec {params.spec:q} "
        "--model {input.model} --calibration {input.calibration} --statistics {input.statistics} "
        "--out {output} {params.part} --parts {input.parts} > {log} 2>&1"


# the blocks of a cell that one job quantizes
use rule quantize as quantize_part with:
    input:
        model=rules.prepare.output,
        calibration=rules.calibrate.output,
        statistics=statistics_of,
        parts=[],
    output:
        f"{CODES}/part-{{part}}-of-{SCATTER}/manifest.json",
    log:
        f"{LOGS}/quantized/{{model}}/{{calibration}}/{{method}}/{{scheme}}/part-{{part}}-of-{SCATTER}.log",
    wildcard_constraints:
        part="[0-9]+",
    resources:
        gpu=1,
    params:
        part=lambda wildcards: f"--part {wildcards.part} {SCATTER}",
        spec=specification("quantize", *CELL),
        code=code("quantize", *CELL),
        env=environment,
