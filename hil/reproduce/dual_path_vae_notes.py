"""What the numbers of the VAE experiment say, in words."""

from __future__ import annotations

from hil.reproduce.dual_path_vae_rows import (
    SCENES,
    SNRS,
    Found,
    Results,
    mean_of,
    of_kind,
    ratios,
    rmse_of,
    scene_key,
)

#: RMSE: differences below these are called none
_EQUAL, _SAME_AS_SUPERVISED = 0.05, 0.02


def notes(found: Found, results: Results) -> tuple[str, ...]:
    """Sentences from the results, then what holds for any run."""
    if not results:
        return ()
    out = [
        *_amortised(found),
        *_music(found),
        *_supervised(found),
        *_nothing_to_learn(found, results),
        *_steps(found),
        *_generic(results),
    ]
    return (*out, *_PLAIN)


def _amortised(found: Found) -> list[str]:
    parts, ahead = [], []
    for scene, (_, words) in SCENES.items():
        key = scene_key(scene, 10.0)
        net, ml, labels = (rmse_of(found, key, m) for m in ("net", "ml", "labels"))
        if net and ml and labels:
            if net < 0.99 * ml:
                ahead.append(words)
            parts.append(
                f"{words}: labels {labels:.4g}, network {net:.4g}, maximum likelihood {ml:.4g} degrees"
            )
    if not parts:
        return []
    better = "The network is nowhere better than 20 steps on the same loss from the same labels; what it saves is those steps."
    if ahead:
        better = f"The network alone is ahead of 20 steps from the same labels: {', '.join(ahead)}."
    return [
        "The method is unsupervised amortisation of maximum likelihood: its loss, the channels integrated out, is the likelihood of each "
        f"recording. At 10 dB: {'; '.join(parts)}. {better}"
    ]


def _music(found: Found) -> list[str]:
    out = []
    for scene, (_, words) in SCENES.items():
        equal, behind = [], []
        for snr_db in SNRS:
            each = ratios(found, scene_key(scene, snr_db), "net-ml", "music")
            if each:
                gain = sum(each) / len(each)
                (equal if gain > 1 - _EQUAL else behind).append((f"{snr_db:g}", gain))
        if equal:
            at = ", ".join(s for s, _ in equal)
            out.append(f"A well-built MUSIC is as good (within 5 %): {words}, {at} dB.")
        if behind:
            shown = ", ".join(f"{1 / g:.3g} times at {s} dB" for s, g in behind)
            out.append(
                f"The RMSE of a well-built MUSIC is larger than that of the VAE with ML steps: {words}, {shown}."
            )
    return out


def _supervised(found: Found) -> list[str]:
    better, worse = [], []
    for scene, (_, words) in SCENES.items():
        for snr_db in SNRS:
            key = scene_key(scene, snr_db)
            each = ratios(found, key, "net", "supervised")
            if each and abs(sum(each) / len(each) - 1) > _SAME_AS_SUPERVISED:
                ratio = sum(each) / len(each)
                text = f"{words}, {snr_db:g} dB: RMSE {ratio:.2f} times the supervised one's"
                medians = [mean_of(found, key, m, "aoa", "median") for m in ("net", "supervised")]
                text += f", median {medians[0]:.3g} against {medians[1]:.3g} degrees"
                (worse if ratio > 1 else better).append(text)
    out = []
    if worse:
        out.append(
            f"Labels help. {'; '.join(worse)}. Squared error pulls the few lost users in; likelihood does not see how far they are lost."
        )
    if better:
        out.append(f"Without labels the network is better. {'; '.join(better)}.")
    if not better and not worse and any(scene_key(s, 10.0) in found for s in SCENES):
        out.append("With or without labels the trained network errs the same, within 2 %.")
    return out


def _nothing_to_learn(found: Found, results: Results) -> list[str]:
    epochs = mean_of(found, scene_key("apart", 10.0), "training", "epochs")
    told = mean_of(found, scene_key("apart", 10.0), "training", "supervised_epochs")
    if epochs is None or told is None:
        return []
    out = (
        f"With labels this good there is little to learn: at 10 dB, users apart, the validation loss is best after {epochs:.1f} epochs without "
        f"labels and {told:.1f} with them (0: the labels themselves). That both are alike says little."
    )
    rows = [case["rows"]["bartlett 0"] for case in of_kind(results, "labels")]
    if rows:
        net, with_truth, ml = (
            sum(row[part]["median"] for row in rows) / len(rows) for part in ("net", "told", "ml")
        )
        out += (
            f" From Bartlett labels, which are worse, medians are {net:.3g} degrees without, {with_truth:.3g} with labels, and "
            f"{ml:.3g} with ML steps."
        )
    return [out]


def _steps(found: Found) -> list[str]:
    key = scene_key("free", 20.0)
    numbers = [mean_of(found, key, m, "aoa", "mse") for m in ("music", "labels", "net", "net-ml", "ml")]
    if any(n is None for n in numbers):
        return []
    music, labels, net, both, ml = numbers
    assert net is not None
    assert both is not None
    assert ml is not None
    lead = '"ML steps" include a search for users that share a peak;'
    if ml < 1.5 * both < net:
        lead = "The lead comes from the steps and their search for users that share a peak, with or without a network:"
    return [
        f"No minimum separation, 20 dB, MSE in square degrees: MUSIC {music:.3g}, labels {labels:.3g}, network {net:.3g}, network + ML steps "
        f"{both:.3g}, ML steps without a network {ml:.3g}. {lead} the network moves each label by less than a beam and cannot bring back a lost "
        "one."
    ]


def _generic(results: Results) -> list[str]:
    cases = {c["variant"]: c for c in of_kind(results, "networks") if c["rho"] == 0}
    if "proposed" not in cases:
        return []
    c = cases["proposed"]
    without = cases.get("no-initialisation")
    far = ""
    if without:
        times = without["aoa"]["rmse"] / c["aoa"]["rmse"]
        far = f" Without the initialisation phase the same networks end {times:.0f} times further off."
    return [
        f"Plain networks as published, but small ({c['parameters']['directions']} and {c['parameters']['channels']} parameters, {c['samples']} recordings, "
        f"{c['seconds']:.0f} s): RMSE {c['aoa']['rmse']:.2f} degrees, {c['aoa']['rmse'] / c['bound']['aoa']['rmse']:.0f} times the bound; channels {c['channel']['nmse_db']:.1f} dB, "
        f"where the closed form with good angles reaches {c['bound']['channel']['nmse_db']:.1f}. ResNet-18 is built and its batches timed; it is not trained here.{far} "
        "They differ from the published ones in more than size: the exact posterior stands in the loss, labels are SOMP's, the initialisation learns ten "
        "times as fast. They, the sectors and the Unsupervised-CNN are of one seed."
    ]


_PLAIN = (
    "The paper states neither its SNR, nor the separation, nor the statistics of its channels, and shows curves without numbers. Here: SNR of a "
    "user, antenna and snapshot; zero-mean channels; angles sorted, so that users are not mixed up.",
    "Corrected here: the trace in (7) has its covariances swapped; (12) multiplies by the covariance where a root belongs; (15) uses the "
    "unknown channels in place of the samples; (50) lost conjugates and a factor 2; (13) lost the quadrant. Pseudo-labels as printed (10)-(11) are "
    "neighbours of one peak.",
    "Mean squared errors are those of few outliers wherever there are any: medians and outliers stand beside them.",
    "At half a wavelength no angle looks like another, so sectors change nothing there; that ablation uses one wavelength.",
)
