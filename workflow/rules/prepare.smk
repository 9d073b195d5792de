# fetch a model from the hub at its pinned revision, or accept a local folder (who reads texts of the hub fetches them)
rule prepare:
    output:
        f"{RESULTS}/models/{{model}}/manifest.json",
    log:
        f"{LOGS}/models/{{model}}.log",
    conda:
        "../../envs/ptqbench.yaml"
    params:
        spec=specification("model", "model"),
        code=code("prepare"),
        weights=weights,
    shell:
        "python -m ptqbench.stages.prepare --spec {params.spec:q} --state .snakemake --out {output} > {log} 2>&1"


# calibration tokens, deterministic for a seed
rule calibrate:
    input:
        model=rules.prepare.output,
    output:
        f"{RESULTS}/calibration/{{model}}/{{calibration}}/manifest.json",
    log:
        f"{LOGS}/calibration/{{model}}/{{calibration}}.log",
    conda:
        "../../envs/ptqbench.yaml"
    params:
        spec=specification("calibration", "model", "calibration"),
        code=code("calibrate"),
        texts=texts,
        env=environment,
    shell:
        "python -m ptqbench.stages.calibrate --spec {params.spec:q} --model {input.model} --out {output} > {log} 2>&1"
