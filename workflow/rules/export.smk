# a checkpoint folder that transformers and vLLM load
rule export:
    input:
        model=rules.prepare.output,
        quantized=codes,
    output:
        f"{RESULTS}/packed/{{model}}/{{calibration}}/{{method}}/{{scheme}}/manifest.json",
    log:
        f"{LOGS}/packed/{{model}}/{{calibration}}/{{method}}/{{scheme}}.log",
    wildcard_constraints:
        method=one_of(config["methods"]),
    conda:
        "../../envs/ptqbench.yaml"
    threads: THREADS
    params:
        spec=specification("export", *CELL),
        code=code("export", *CELL),
        env=environment,
    shell:
        "OMP_NUM_THREADS={threads} python -m ptqbench.stages.export --spec {params.spec:q} "
        "--model {input.model} --quantized {input.quantized} --out {output} > {log} 2>&1"


# the unquantized model, as it is, so that it runs through the same evaluation
use rule export as export_float with:
    input:
        model=rules.prepare.output,
        quantized=[],
    output:
        f"{RESULTS}/packed/{{model}}/{{calibration}}/{{method}}/{{scheme}}/manifest.json",
    wildcard_constraints:
        method=spec.FLOAT_METHOD,


# a checkpoint that somebody else quantized, as it is, or fetched from the hub at its pinned revision
rule adopt:
    input:
        model=rules.prepare.output,
    output:
        f"{RESULTS}/packed/{{model}}/{{calibration}}/{{method}}/{{scheme}}/manifest.json",
    log:
        f"{LOGS}/packed/{{model}}/{{calibration}}/{{method}}/{{scheme}}.log",
    wildcard_constraints:
        method=one_of(CHECKPOINTS),
    conda:
        "../../envs/ptqbench.yaml"
    params:
        spec=specification("export", *CELL),
        code=code("adopt"),
        files=checkpoint_files,
    shell:
        "python -m ptqbench.stages.adopt --spec {params.spec:q} --state .snakemake --model {input.model} "
        "--out {output} > {log} 2>&1"
