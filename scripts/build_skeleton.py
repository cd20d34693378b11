"""Build the phantom's skeleton asset from the `myo-sim` musculoskeletal model (build time only).

    pip install -e ".[skeleton]"
    python scripts/build_skeleton.py bonescan_utils/assets/skeleton.npz

Every bone mesh of `myofullbody` is sampled on a 3 mm lattice in its own frame. The rib cage is taken apart into 24
ribs and the sternum with its cartilage, the neck into seven vertebrae; the MyoSuite logo on the chest is dropped.
The pose of every bone in 16 poses is stored beside the points, so that MuJoCo is not needed to make a phantom.

Source: myo-sim (Apache-2.0), derived from OpenSim bone geometry; see `bonescan_utils/assets/README.md`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mujoco
import myo_sim
import numpy as np
import trimesh
from scipy import ndimage as ndi

LATTICE_MM = 3.0
N_POSES = 16
POSE_SEED = 20_220_831
SHELLS = (
    "hat_skull",
    "hat_jaw",
    "scapula",
)  # meshes that are not watertight: their surface is sampled instead


def main() -> None:
    """Write the asset named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    model, _ = myo_sim.load("myofullbody")
    geoms = mesh_geoms(model)
    bones = [bone for geom in geoms for bone in split_bones(model, geom)]
    lattices = [sample(mesh, shell=name.startswith(SHELLS)) for name, _, mesh in bones]
    np.savez_compressed(
        out,
        name=np.array([name for name, _, _ in bones]),
        origin_mm=np.array([origin for origin, _, _ in lattices], np.float32),  # (bone, xyz)
        index=np.concatenate([index for _, index, _ in lattices]).T.copy(),  # (xyz, point) uint8 lattice steps
        depth_mm=np.concatenate([depth for _, _, depth in lattices]),  # (point,) uint8 below the surface
        bone=np.concatenate([np.full(len(index), i, np.uint8) for i, (_, index, _) in enumerate(lattices)]),
        frame=frames(model, geoms),  # (pose, frame, 3, 4) rotation | translation in mm
        frame_of_bone=np.array([geoms.index(geom) for _, geom, _ in bones], np.uint8),
        lattice_mm=np.float32(LATTICE_MM),
    )
    points = sum(len(index) for _, index, _ in lattices)
    print(f"{out}: {len(bones)} bones, {points} points, {out.stat().st_size / 1e6:.3f} MB")


def mesh_geoms(model: mujoco.MjModel) -> list[int]:
    """Return the ids of the geoms that are bone meshes."""
    return [g for g in range(model.ngeom) if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_MESH]


def geom_mesh(model: mujoco.MjModel, geom: int) -> trimesh.Trimesh:
    """Return the mesh of a geom in the geom's own frame, in mm."""
    mesh = model.geom_dataid[geom]
    v0, nv = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    f0, nf = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    return trimesh.Trimesh(model.mesh_vert[v0 : v0 + nv] * 1000.0, model.mesh_face[f0 : f0 + nf])


def split_bones(model: mujoco.MjModel, geom: int) -> list[tuple[str, int, trimesh.Trimesh]]:
    """Return (name, geom, mesh) of each bone in a geom: one for most, many for the rib cage and the neck."""
    mesh, name = (
        geom_mesh(model, geom),
        bone_name(model.geom(geom).name, model.mesh(model.geom_dataid[geom]).name),
    )
    if name == "ribcage":
        return split_ribcage(model, geom, mesh)
    if name == "cervical":
        parts = sorted(components(mesh, 7), key=lambda m: -height(model, geom, m))
        return [(f"C{i + 1}", geom, part) for i, part in enumerate(parts)]
    return [(name, geom, mesh)]


def bone_name(geom: str, mesh: str) -> str:
    """Return the bone's name in this package: `T12`, `L5`, `femur_l`, `ribcage`, `cervical`, ..."""
    if geom.startswith("torso_geom"):
        part = mesh.rsplit("_", 2)[1]
        return part.replace("thoracic", "T")
    if geom.startswith("lumbar"):
        return geom.split("_")[0].replace("lumbar", "L")
    fixed = {
        "sacrum_geom_1": "sacrum",
        "hat_cervical": "cervical",
        "hat_jaw": "hat_jaw",
        "hat_skull": "hat_skull",
    }
    unsided = {"capitate": "capitate_r", "5distph": "5distph_r", "thumbprox": "thumbprox_r"}
    return fixed.get(geom, unsided.get(geom, geom))


def components(mesh: trimesh.Trimesh, n: int) -> list[trimesh.Trimesh]:
    """Return the `n` connected components with the largest extent."""
    mesh.merge_vertices()
    parts = mesh.split(only_watertight=False, repair=False)
    return sorted(parts, key=lambda m: -float(np.linalg.norm(m.extents)))[:n]


def height(model: mujoco.MjModel, geom: int, mesh: trimesh.Trimesh) -> float:
    """Return the highest z of a part in the model's world frame (mm)."""
    rotation, shift = world_frame(model, home(model), geom)
    return float((mesh.vertices @ rotation.T + shift)[:, 2].max())


def split_ribcage(model: mujoco.MjModel, geom: int, mesh: trimesh.Trimesh) -> list[tuple[str, int, trimesh.Trimesh]]:
    """Return 12 ribs a side and the sternum with its cartilage; the ring-shaped logo is left out."""
    rotation, shift = world_frame(model, home(model), geom)
    mesh.merge_vertices()
    parts = [p for p in mesh.split(only_watertight=False, repair=False) if p.is_watertight]
    logo = max(parts, key=lambda p: len(p.faces))  # a 136 x 53 x 123 mm ring; its open parts are gone already
    parts = [p for p in parts if p is not logo]
    centre = np.mean([(p.vertices @ rotation.T + shift)[:, 0].mean() for p in parts])
    sternum = min(parts, key=lambda p: abs((p.vertices @ rotation.T + shift)[:, 0].mean() - centre))
    bones = [("sternum", geom, sternum)]
    for side, sign in (("r", -1), ("l", 1)):
        ribs = [p for p in parts if p is not sternum]
        ribs = [p for p in ribs if sign * ((p.vertices @ rotation.T + shift)[:, 0].mean() - centre) > 0]
        ribs.sort(key=lambda p: -height(model, geom, p))
        if len(ribs) != 12:
            raise SystemExit(f"expected 12 ribs on side {side}, found {len(ribs)}: the source mesh has changed")
        bones += [(f"rib{i + 1:02d}_{side}", geom, rib) for i, rib in enumerate(ribs)]
    return bones


def sample(mesh: trimesh.Trimesh, *, shell: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (origin mm, lattice index uint8 (n, 3), depth mm uint8 (n,)) of a bone on the 3 mm lattice."""
    origin = mesh.bounds[0] - 0.37 * LATTICE_MM  # off any vertex, so that no ray grazes an edge
    shape = np.ceil((mesh.bounds[1] - origin) / LATTICE_MM).astype(int) + 1
    if shell:
        points = trimesh.sample.sample_surface_even(mesh, int(mesh.area * 3), seed=1)[0]
        index = np.unique(np.round((points - origin) / LATTICE_MM).astype(int), axis=0)
        return origin, index.astype(np.uint8), np.zeros(len(index), np.uint8)
    solid = parity_fill(mesh, origin, shape)
    depth = ndi.distance_transform_edt(np.pad(solid, 1))[1:-1, 1:-1, 1:-1] * LATTICE_MM
    index = np.argwhere(solid)
    return origin, index.astype(np.uint8), np.minimum(depth[solid], 255).astype(np.uint8)


def parity_fill(mesh: trimesh.Trimesh, origin: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Return the lattice points inside a closed mesh: an odd number of faces lies below them."""
    crossings = np.zeros(shape, np.int16)
    for a, b, c in (mesh.triangles - origin) / LATTICE_MM:
        lo = np.maximum(np.ceil(np.min([a, b, c], axis=0)[:2]), 0).astype(int)
        hi = np.minimum(np.floor(np.max([a, b, c], axis=0)[:2]), shape[:2] - 1).astype(int)
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if (hi < lo).any() or area == 0:
            continue
        x, y = np.meshgrid(np.arange(lo[0], hi[0] + 1), np.arange(lo[1], hi[1] + 1), indexing="ij")
        u = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (y - a[1])) / area
        v = ((b[0] - a[0]) * (y - a[1]) - (x - a[0]) * (b[1] - a[1])) / area
        hit = (u >= 0) & (v >= 0) & (u + v <= 1)
        z = np.ceil(a[2] + u * (b[2] - a[2]) + v * (c[2] - a[2]))[hit].astype(int)
        inside = z < shape[2]
        np.add.at(crossings, (x[hit][inside], y[hit][inside], np.maximum(z[inside], 0)), 1)
    return (crossings.cumsum(axis=2) % 2).astype(bool)


def home(model: mujoco.MjModel) -> mujoco.MjData:
    """Return the model in its default pose."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return data


def world_frame(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rotation (3, 3) and translation (3,) in mm of a geom."""
    return data.geom_xmat[geom].reshape(3, 3), data.geom_xpos[geom] * 1000.0


def frames(model: mujoco.MjModel, geoms: list[int]) -> np.ndarray:
    """Return float32 (pose, frame, 3, 4): x patient left, y posterior, z up, mm, pelvis centre at x = y = 0."""
    rng = np.random.default_rng(POSE_SEED)
    out = []
    for _ in range(N_POSES):
        data = mujoco.MjData(model)
        pose(model, data, rng)
        mujoco.mj_forward(model, data)
        frame = np.array([np.c_[world_frame(model, data, g)[0], world_frame(model, data, g)[1]] for g in geoms])
        turn_head(model, data, geoms, frame, yaw=rng.uniform(-0.2, 0.2), pitch=rng.uniform(-0.12, 0.12))
        pelvis = np.mean([world_frame(model, data, model.geom(f"pelvis_{s}").id)[1] for s in "lr"], axis=0)
        frame[:, :, 3] -= [pelvis[0], pelvis[1], 0.0]
        out.append(frame)
    return np.array(out, np.float32)


def pose(model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
    """Draw the supine scanning position: arms beside the body, toes pointing out and down."""

    def put(joint: str, angle: float) -> None:
        data.qpos[model.jnt_qposadr[model.joint(joint).id]] = angle

    spread = rng.uniform(0.03, 0.17)
    put("lat_bending", rng.uniform(-0.06, 0.06))
    put("axial_rotation", rng.uniform(-0.05, 0.05))
    for side in "rl":
        put(f"shoulder_elv_{side}", max(spread + rng.uniform(-0.04, 0.04), 0.0))
        put(f"elbow_flexion_{side}", rng.uniform(0.1, 0.4))
        put(f"pro_sup_{side}", rng.uniform(-0.2, 1.3))
        put(f"hip_rotation_{side}", -rng.uniform(0.05, 0.3))
        put(f"hip_adduction_{side}", -rng.uniform(0.0, 0.06))
        put(f"ankle_angle_{side}", -rng.uniform(0.35, 0.68))
        curl = rng.uniform(0.1, 0.5)
        for finger in "2345":
            put(f"mcp{finger}_flexion_{side}", curl)
            put("pm4_flexion" if (finger, side) == ("4", "r") else f"pm{finger}_flexion_{side}", curl)


def turn_head(model, data, geoms: list[int], frame: np.ndarray, *, yaw: float, pitch: float) -> None:
    """Turn skull and jaw about the top of the neck; the model has no joint there."""
    skull, neck = model.geom("hat_skull").id, model.geom("hat_cervical").id
    pivot = 0.45 * data.geom_xpos[skull] * 1000.0 + 0.55 * data.geom_xpos[neck] * 1000.0
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    turn = about_z @ about_x
    for i, geom in enumerate(geoms):
        if geom in (skull, model.geom("hat_jaw").id):
            frame[i, :, :3] = turn @ frame[i, :, :3]
            frame[i, :, 3] = turn @ (frame[i, :, 3] - pivot) + pivot


if __name__ == "__main__":
    main()
