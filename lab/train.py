"""Laboratory: one training at a fixed budget of processor time. ``python -m lab.train name=x key=value ...``."""

from __future__ import annotations

import copy
import math
import sys
import time
from ast import literal_eval

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cacl.data.augment import AUGMENT_DRAWS, augment, draw_augmentation, normalise_, standard_frames
from cacl.data.clips import training_clip
from cacl.data.shuffle import DegreeSampler, degree_class
from cacl.methods.momentum import Queue, momentum_copy, momentum_update
from cacl.methods.permute import permute_frames, permute_tokens
from cacl.models.cnn3d import Conv3d, build_cnn3d, channels_last_
from cacl.models.heads import DegreeHead, contrast_head
from cacl.models.transformer import VideoTransformer
from lab.common import LAB, Videos, embed, report

D = dict(
    name="x", seed=0, budget=240.0, batch=32, lr=2e-3, wd=0.05, warm=0.05, width=16, net="r3d10", stem_t=1,
    pixels="motion", frames=16, stride=2, size=56, moments=2, max_offset=-1, area=0.3, jitter_p=0.8, gray_p=0.2,
    loss="moco", temp=0.1, momentum=0.99, mconst=0, queue=421, proj="mlp", out=128, symmetric=0,
    twin=0.0, joint=1, degree=0.0, degree_decay=0,  # share of the batch with a twin; joint: contrast sees concat
    T=0, every=4, pairs="gq_gk,gq_tq,gq_tk,tq_tk", tlr=1.0, tdrop=0.3, t_share=1.0, fixed_t=0, distil=0.0, soft=0.05,
    sig=0.05, slices=256, clips=3, nn=0, own=0, save=0,
)


def prep_pixels(x, pixels):
    """[B,3,T,S,S] in [0,1] to what G sees."""
    if pixels in ("motion", "clip"):
        return normalise_(x.clone(), standardise=pixels)
    if pixels == "both":
        return torch.cat([normalise_(x.clone(), standardise="clip"), normalise_(x.clone(), standardise="motion")], 1)
    if pixels == "bothg":  # appearance in grey, motion in colour
        g = (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1, 1)).sum(1, keepdim=True)
        return torch.cat([normalise_(g, standardise="clip"), normalise_(x.clone(), standardise="motion")], 1)
    if pixels == "diff":  # differences of neighbouring frames
        d = x[:, :, 1:] - x[:, :, :-1]
        d = torch.cat([d, d[:, :, -1:]], 2)
        return d / (d.std((1, 2, 3, 4), keepdim=True) + 0.02)
    raise ValueError(pixels)


def build(c):
    torch.manual_seed(c.seed)
    net = build_cnn3d(c.net, width=c.width)
    n_in = {"both": 6, "bothg": 4}.get(c.pixels, 3)
    if n_in != 3 or c.stem_t != 1:
        k = 3 if c.stem_t == 1 else 5
        conv = Conv3d(n_in, c.width, (k, 7, 7), (c.stem_t, 2, 2), (k // 2, 3, 3), bias=False)
        net.conv1.temporal_spatial_conv = conv
    return net


def sigreg(z, slices, g):
    t = torch.linspace(0, 3, 17)
    dt = 3 / 16
    w = torch.full((17,), 2 * dt)
    w[0] = w[-1] = dt
    phi = torch.exp(-(t**2) / 2)
    a = torch.randn(z.shape[1], slices, generator=g)
    a = a / a.norm(dim=0)
    x = (z @ a)[..., None] * t
    err = (x.cos().mean(0) - phi) ** 2 + x.sin().mean(0) ** 2
    return (err @ (w * phi)).mean() * len(z)


def vicreg(z1, z2):
    inv = (z1 - z2).square().mean()
    var = sum(F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() for z in (z1, z2)) / 2
    cov = 0
    for z in (z1, z2):
        zc = z - z.mean(0)
        m = zc.T @ zc / (len(z) - 1)
        cov = cov + (m.square().sum() - m.diagonal().square().sum()) / z.shape[1] / 2
    return 25 * inv + 25 * var + cov


class C:
    def __init__(self, **k):
        self.__dict__.update(D)
        for a in k:
            assert a in D, a
        self.__dict__.update(k)


def nce(q, pos, neg, temp):
    """mean over q of -log e^pos/(e^pos + sum e^neg)"""
    n = (neg / temp).logsumexp(1)
    return (torch.logaddexp(pos / temp, n) - pos / temp).mean()


def main():
    c = C(**{k: (literal_eval(v) if v[:1] in "-.0123456789" else v) for k, v in (a.split("=", 1) for a in sys.argv[1:])})
    torch.set_num_threads(1)
    videos = Videos()
    train = videos.train
    net = build(c)
    channels_last_(net)
    prep = lambda x: prep_pixels(x, c.pixels)  # noqa: E731
    rng = np.random.default_rng([c.seed, 7])
    g = torch.Generator().manual_seed(c.seed)
    torch.manual_seed(c.seed + 2)
    nf = net.num_features
    joint = c.joint and c.twin >= 1
    head = contrast_head(nf * (2 if joint else 1), projection=c.proj, out=c.out)
    if c.loss in ("sigreg", "vicreg"):
        h = 512
        head = nn.Sequential(nn.Linear(nf, h, bias=False), nn.BatchNorm1d(h), nn.ReLU(), nn.Linear(h, c.out))
    q = nn.ModuleDict({"net": net, "head": head})
    mods = nn.ModuleDict({"q": q})
    if c.twin:
        sampler = DegreeSampler(c.frames)
        mods["degree"] = DegreeHead(nf, hidden=512, dropout=0.0, classes=len(sampler.degrees), input="ratio")
    key = momentum_copy(q) if c.loss == "moco" else None
    queue = Queue(c.queue, c.out) if c.queue and key is not None else None
    if c.nn:
        queue = queue or Queue(c.nn, c.out)
        mods["pred"] = nn.Sequential(nn.Linear(c.out, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, c.out))
    if c.T:
        fvec = torch.from_numpy(np.load(LAB / "frozen.npy"))
        fvec = fvec - fvec[train].mean(0)
        fvec = fvec / fvec[train].std()
        mods["T"] = VideoTransformer(fvec.shape[1], frames=1, clips=1, width=96, depth=2, heads=3)
        keyT = momentum_copy(mods["T"])
    dvec = None
    if c.distil:
        dvec = torch.from_numpy(np.load(LAB / "frozen.npy"))
        mu = dvec[train].mean(0)
        dvec = F.normalize(dvec - mu, dim=1)
        mods["dist"] = contrast_head(nf, projection="mlp", out=dvec.shape[1])
    groups = [
        {"params": [p for p in mods.parameters() if p.ndim > 1], "weight_decay": c.wd},
        {"params": [p for p in mods.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    opt = torch.optim.AdamW(groups, lr=c.lr, fused=True)
    H, W = videos.store.height, videos.store.width
    order, step, log = np.array([], int), 0, {}
    times = dict(read=0.0, aug=0.0, fwd=0.0, bwd=0.0)
    t0 = time.process_time()
    wall0 = time.time()
    mods.train()
    while True:
        ta = time.process_time()
        used = ta - t0
        p = used / c.budget
        if p >= 1:
            break
        lr = c.lr * (min(1, (p + 1e-4) / c.warm) if p < c.warm else (1 + math.cos(math.pi * (p - c.warm) / (1 - c.warm))) / 2)
        for gr in opt.param_groups:
            gr["lr"] = lr
        if len(order) < c.batch:
            order = np.concatenate([order, rng.permutation(len(train))])
        idx, order = train[order[: c.batch]], order[c.batch :]
        B = len(idx)
        plans = [
            training_clip(int(videos.frames[i]), rng, frames=c.frames, stride=c.stride, moments=c.moments,
                          max_offset=None if c.max_offset < 0 else c.max_offset)
            for i in idx
        ]
        clips = np.stack([videos.read(i, pl.reshape(-1)).reshape(*pl.shape, H, W, 3) for i, pl in zip(idx, plans)])
        clips = torch.from_numpy(clips)
        tb = time.process_time()
        views = []
        for v in range(2):
            draw = draw_augmentation(rng.random((B, AUGMENT_DRAWS)), height=H, width=W, size=c.size, crop="area",
                                     area=(c.area, 1.0), jitter_p=c.jitter_p, gray_p=c.gray_p, blur_p=0.0)
            x = augment(clips[:, v % c.moments], draw, hue="yiq")
            views.append(prep(x).contiguous(memory_format=torch.channels_last_3d))
        tc = time.process_time()
        vid = torch.from_numpy(idx)
        same = vid[:, None] == vid[None]
        nt = round(B * c.twin)
        if nt:
            draws = [sampler.draw(rng) for _ in range(B)]
            perm = torch.from_numpy(np.stack([d[0] for d in draws]))
            deg = torch.tensor([degree_class(d[1]) for d in draws])
        terms = {}
        amp = torch.autocast("cpu", torch.bfloat16)

        def feats_of(m, x, twins):
            """features of clips, and of the first ``twins`` twins."""
            if not twins:
                with amp:
                    return m["net"](x), None
            both = torch.cat([x, permute_frames(x[:twins], perm[:twins])]).contiguous(memory_format=torch.channels_last_3d)
            with amp:
                f = m["net"](both)
            return f[:B], f[B:]

        def emb(m, f, ft, norm=True):
            z = m["head"](torch.cat([f, ft], 1) if joint else f)
            return F.normalize(z, dim=1) if norm else z

        f, ft = feats_of(q, views[0], nt)
        if c.loss == "moco":
            zq = emb(q, f, ft)
            with torch.no_grad():
                fk, fkt = feats_of(key, views[1], nt if joint else 0)
                zk = emb(key, fk, fkt)
            names, others = {"gq": zq, "gk": zk}, {"gk": zk}
            if c.T:
                def tview(v, m):
                    toks = F.dropout(fvec[vid][:, None], c.tdrop)
                    e = m.embed(toks)
                    return F.normalize(m(e), dim=1)
                names["tq"] = tview(0, mods["T"])
                with torch.no_grad():
                    names["tk"] = tview(1, keyT)
                others |= {"tq": names["tq"], "tk": names["tk"]}

            def negs(z):
                n = [z @ queue.keys.T] if queue is not None else []
                if n:
                    n[0] = n[0].masked_fill(vid[:, None] == queue.videos[None], -torch.inf)
                n += [(z @ o.T).masked_fill(same, -torch.inf) for o in others.values()]
                return torch.cat(n, 1)

            pairs = c.pairs.split(",") if c.T else ["gq_gk"]
            loss = 0
            for pr in pairs:
                a, b = pr.split("_")
                w = 1.0 if pr == "gq_gk" else c.t_share
                s = (names[a] * names[b]).sum(1)
                loss = loss + w * nce(None, s, negs(names["tq" if a == "tq" else "gq"]), c.temp)
                log["s_" + pr] = s.mean().item()
            terms["nce"] = loss / (1 + c.t_share * (len(pairs) - 1))
        else:
            f2, _ = feats_of(q, views[1], 0)
            if c.loss == "simclr":
                z1, z2 = emb(q, f, None), emb(q, f2, None)
                z = torch.cat([z1, z2])
                big = torch.cat([vid, vid])
                sim = z @ z.T
                mask = big[:, None] == big[None]
                neg = sim.masked_fill(mask, -torch.inf)
                if c.nn:
                    # positives are the nearest keys of other samples (no own)
                    with torch.no_grad():
                        nnk = []
                        for zz in (z1, z2):
                            sc = (zz @ queue.keys.T).masked_fill(vid[:, None] == queue.videos[None], -2)
                            nnk.append(queue.keys[sc.argmax(1)])
                        nnk = torch.cat(nnk)
                    pz = F.normalize(mods["pred"](z), dim=1)
                    l = pz @ nnk.roll(B, 0).T / c.temp
                    terms["nn"] = F.cross_entropy(l, torch.arange(2 * B))
                pos = (z1 * z2).sum(1)
                log["s_gq_gk"] = pos.mean().item()
                terms["nce"] = nce(None, torch.cat([pos, pos]), neg, c.temp)
                if c.T:  # G's two views and T's two looks at the frozen features, each against those of other videos
                    tt = torch.cat([F.normalize(mods["T"](mods["T"].embed(F.dropout(fvec[vid][:, None], c.tdrop))), dim=1)
                                    for _ in range(2)])
                    gt, t_t = z @ tt.T, tt @ tt.T
                    neg_gt, neg_tt = gt.masked_fill(mask, -torch.inf), t_t.masked_fill(mask, -torch.inf)
                    extra = [nce(None, gt.diagonal(), neg_gt, c.temp), nce(None, torch.cat([gt.diagonal(B), gt.diagonal(-B)]), neg_gt, c.temp),
                             nce(None, t_t.diagonal(B).repeat(2), neg_tt, c.temp)]
                    log["s_gq_tq"], log["s_tq_tk"] = gt.diagonal().mean().item(), t_t.diagonal(B).mean().item()
                    terms["nce"] = (terms["nce"] + c.t_share * sum(extra)) / (1 + 3 * c.t_share)
                if c.nn:
                    queue.enqueue(z1.detach(), vid)
            else:
                z1, z2 = emb(q, f, None, False), emb(q, f2, None, False)
                if c.loss == "sigreg":
                    inv = ((z1 - z2) / 2).square().mean()
                    s = (sigreg(z1, c.slices, g) + sigreg(z2, c.slices, g)) / 2
                    log["inv"], log["sigreg"] = inv.item(), s.item()
                    terms["nce"] = (1 - c.sig) * inv + c.sig * s
                else:
                    terms["nce"] = vicreg(z1, z2) / 25
                    log["inv"] = (z1 - z2).square().mean().item()
        if c.distil:
            d = F.normalize(mods["dist"](f), dim=1)
            soft = (dvec[vid] @ dvec[train].T / c.soft).softmax(1)
            terms["distil"] = F.cross_entropy(d @ dvec[train].T / c.temp, soft)
        if nt and c.degree:
            logits = mods["degree"](f[:nt], ft)
            terms["degree"] = F.cross_entropy(logits, deg[:nt])
            log["deg_acc"] = 0.98 * log.get("deg_acc", 0.06) + 0.02 * (logits.argmax(1) == deg[:nt]).float().mean().item()
        wdeg = c.degree * ((1 - p) if c.degree_decay else 1)
        total = terms["nce"] + wdeg * terms.get("degree", 0) + c.distil * terms.get("distil", 0) + terms.get("nn", 0)
        td = time.process_time()
        opt.zero_grad(set_to_none=True)
        total.backward()
        opt.step()
        if key is not None:
            m = c.momentum if c.mconst else 1 - (1 - c.momentum) * (math.cos(math.pi * p) + 1) / 2
            momentum_update(key, q, m)
            if c.T:
                momentum_update(keyT, mods["T"], m)
            if queue is not None:
                queue.enqueue(zk, vid)
        te = time.process_time()
        for k, a, b in (("read", ta, tb), ("aug", tb, tc), ("fwd", tc, td), ("bwd", td, te)):
            times[k] += b - a
        if step % 100 == 0:
            print(f"  {step} {used:.0f}s", {k: round(float(v), 3) for k, v in {**terms, **log}.items()}, flush=True)
        step += 1
    cpu = time.process_time() - t0
    print(f"  {step} steps {cpu:.0f}s cpu {time.time() - wall0:.0f}s wall", {k: round(v / step, 3) for k, v in times.items()},
          {k: round(float(v), 3) for k, v in {**terms, **log}.items()}, flush=True)
    f = embed(net, videos, prep, clips=c.clips, size=c.size, frames=c.frames, stride=c.stride)
    frozen = np.load(LAB / "frozen.npy") if (LAB / "frozen.npy").exists() else None
    changed = {k: v for k, v in c.__dict__.items() if v != D[k] and k != "name"}
    report(c.name, videos, f, {"set": changed, "steps": step, "cpu": round(cpu), "wall": round(time.time() - wall0)}, frozen)
    if c.save:
        torch.save(net.state_dict(), LAB / f"{c.name}.pt")


if __name__ == "__main__":
    main()
