// Persistent reservations of a map. A registration belongs to one nexus, and a map has as many as it has paths: what the
// host registers through one of them is registered through all (as mpathpersist does).
//
//   REGISTER, REGISTER AND IGNORE   through one path as they came; GOOD: REGISTER AND IGNORE through every other usable path
//   RELEASE                         through every usable path: only the holder's is heard
//   PREEMPT of our own key          takes the other paths' registrations: they are made again
//   a path comes back               PERSISTENT RESERVE IN READ KEYS first. Our key is still there: the path is registered
//                                   before it carries I/O. It is not: another host has taken it away, and so it stays
//
// One piece of work at a time, in the order in which they came. A path whose registration fails is not used: it is
// identified anew, and comes here again.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "mpathd/map_internal.hpp"
#include "wire/scsi_reservation.hpp"

namespace mpath {
namespace {

constexpr std::uint32_t keys_bytes_max = 4096;

scsi::PersistentService service_of(const ScsiRequest& request) {
  return static_cast<scsi::PersistentService>(std::to_integer<unsigned>(request.cdb.bytes[1]) & 0x1f);
}

scsi::Cdb reserve_out_cdb(scsi::PersistentService service, std::size_t length) {
  scsi::Cdb cdb;
  cdb.length = 10;
  cdb.bytes[0] = static_cast<std::byte>(scsi::Opcode::persistent_reserve_out);
  cdb.bytes[1] = static_cast<std::byte>(service);
  cdb.bytes[8] = static_cast<std::byte>(length);
  return cdb;
}

scsi::Cdb read_keys_cdb(std::uint32_t length) {
  scsi::Cdb cdb;
  cdb.length = 10;
  cdb.bytes[0] = static_cast<std::byte>(scsi::Opcode::persistent_reserve_in);
  cdb.bytes[7] = static_cast<std::byte>(length >> 8);
  cdb.bytes[8] = static_cast<std::byte>(length);
  return cdb;
}

bool went_well(const ScsiRequest& request) {
  return request.outcome == ScsiOutcome::answered && request.status == scsi::Status::good;
}

}  // namespace

bool MapDevice::is_reservation(const ScsiRequest& request) {
  return std::to_integer<unsigned>(request.cdb.bytes[0]) == std::to_underlying(scsi::Opcode::persistent_reserve_out);
}

void MapDevice::reserve(ScsiRequest& request) {
  reservations_->work.push_back({.host = &request, .path = nullptr});
  next_reservation();
}

// True: it is not usable yet, and will be when it is registered.
bool MapDevice::must_register(MapPath& path) {
  if (!reservations_->key || path.registered == path.port->generation()) return false;
  if (!path.registering) {
    path.registering = true;
    reservations_->work.push_back({.host = nullptr, .path = &path});
    next_reservation();
  }
  return true;
}

// It leaves the map, or failed before it was registered.
void MapDevice::forget_registering(MapPath& path) {
  path.registering = false;
  Reservations& all = *reservations_;
  std::erase_if(all.work, [&](const Reservations::Work& each) { return each.path == &path; });
  std::erase(all.others, &path);
  if (all.current.path == &path) all.current.path = nullptr;
}

void MapDevice::next_reservation() {
  Reservations& all = *reservations_;
  if (all.busy || all.work.empty()) return;
  all.busy = true;
  all.current = all.work.front();
  all.work.erase(all.work.begin());
  all.others.clear();
  if (all.current.host != nullptr) {
    const ScsiRequest& host = *all.current.host;
    all.step_kind = Reservations::StepKind::host;
    all.step.cdb = host.cdb;
    all.step.direction = host.direction;
    all.step.data = host.data;
    all.step.length = host.length;
    all.step.changes = true;
    all.step.repeatable = host.repeatable;
    send_reservation_step(nullptr);
  } else {
    all.step_kind = Reservations::StepKind::read_keys;
    all.buffer.resize(keys_bytes_max);
    set_reservation_step(read_keys_cdb(keys_bytes_max), DataDirection::in);
    send_reservation_step(all.current.path);
  }
}

void MapDevice::set_reservation_step(const scsi::Cdb& cdb, DataDirection direction) {
  Reservations& all = *reservations_;
  all.piece = {all.buffer.data(), all.buffer.size()};
  all.step.cdb = cdb;
  all.step.direction = direction;
  all.step.data = std::span<const iovec>(&all.piece, 1);
  all.step.length = static_cast<std::uint32_t>(all.buffer.size());
  all.step.changes = false;  // twice is as good as once, and later as good as now: nothing waits for a fence
  all.step.repeatable = true;
}

void MapDevice::send_reservation_step(MapPath* path) {
  Reservations& all = *reservations_;
  all.step.lengthy = false;
  all.step.done = [](ScsiRequest& request) noexcept {
    auto& step = static_cast<Reservations::Step&>(request);
    step.map->on_reservation_step();
  };
  submit_command(all.step, path);
}

void MapDevice::send_registration(MapPath& path) {
  Reservations& all = *reservations_;
  all.step_kind = Reservations::StepKind::registration;
  all.buffer = scsi::encode_persistent_out({.service_key = all.key.value_or(0), .aptpl = all.aptpl});
  set_reservation_step(reserve_out_cdb(scsi::PersistentService::register_and_ignore, all.buffer.size()), DataDirection::out);
  send_reservation_step(&path);
}

void MapDevice::on_reservation_step() {
  Reservations& all = *reservations_;
  switch (all.step_kind) {
    case Reservations::StepKind::host:
      return on_host_reserved();
    case Reservations::StepKind::read_keys:
      return on_keys_read();
    case Reservations::StepKind::registration:
      return on_registered();
    case Reservations::StepKind::release:
      return next_other();
  }
}

// The host's command has its answer. GOOD: what follows from it for the other paths.
void MapDevice::on_host_reserved() {
  Reservations& all = *reservations_;
  ScsiRequest& host = *all.current.host;
  host.outcome = all.step.outcome;
  host.status = all.step.status;
  host.sense = all.step.sense;
  host.transferred = all.step.transferred;
  if (!went_well(host) || host.data.empty()) return end_reservation();
  std::vector<std::byte> list;
  for (const iovec& piece : host.data) {
    const auto* first = static_cast<const std::byte*>(piece.iov_base);
    list.insert(list.end(), first, first + piece.iov_len);
  }
  const auto told = scsi::decode_persistent_out(list, false);
  if (!told) return end_reservation();
  bool others = false;
  switch (service_of(host)) {
    case scsi::PersistentService::register_key:
    case scsi::PersistentService::register_and_ignore:
      all.key = told->service_key != 0 ? std::optional(told->service_key) : std::nullopt;
      all.aptpl = told->aptpl;
      all.others_step = Reservations::StepKind::registration;
      others = true;
      break;
    case scsi::PersistentService::release:
      all.others_step = Reservations::StepKind::release;
      others = true;
      break;
    case scsi::PersistentService::clear:
      all.key.reset();
      break;
    case scsi::PersistentService::preempt:
    case scsi::PersistentService::preempt_and_abort:
      all.others_step = Reservations::StepKind::registration;
      others = all.key == told->service_key;
      break;
    case scsi::PersistentService::reserve:
    case scsi::PersistentService::register_and_move:
      break;
  }
  if (!others) return end_reservation();
  for (const auto& path : paths_) {
    path->registered.reset();
    if (path.get() == all.carrier && path->port != nullptr) path->registered = path->port->generation();
    if (path->usable && path.get() != all.carrier) all.others.push_back(path.get());
  }
  next_other();
}

void MapDevice::next_other() {
  Reservations& all = *reservations_;
  if (all.others.empty()) return end_reservation();
  MapPath& path = *all.others.front();
  all.others.erase(all.others.begin());
  all.current.path = &path;
  if (all.others_step == Reservations::StepKind::registration) return send_registration(path);
  all.step_kind = Reservations::StepKind::release;
  const ScsiRequest& host = *all.current.host;
  all.step.cdb = host.cdb;
  all.step.direction = host.direction;
  all.step.data = host.data;
  all.step.length = host.length;
  all.step.changes = false;
  send_reservation_step(&path);
}

void MapDevice::on_keys_read() {
  Reservations& all = *reservations_;
  if (all.current.path == nullptr || !went_well(all.step)) return end_reservation();
  const auto told = std::span(all.buffer).first(std::min<std::size_t>(all.step.transferred, all.buffer.size()));
  const auto keys = scsi::decode_reservation_keys(told);
  if (all.key && keys && std::ranges::find(keys->keys, *all.key) != keys->keys.end()) {
    return send_registration(*all.current.path);
  }
  if (all.key) {
    environment_.listener.on_map_line(
        fmt::format("map {}: its reservation key {:#x} is not registered any more", name_, *all.key), true);
  }
  all.key.reset();
  end_reservation();
}

void MapDevice::on_registered() {
  Reservations& all = *reservations_;
  MapPath* path = all.current.path;
  const bool for_path = all.current.host == nullptr;
  if (path != nullptr && path->port != nullptr) {
    if (went_well(all.step)) {
      path->registered = path->port->generation();
    } else {
      environment_.listener.on_map_line(
          fmt::format("map {}: path {} cannot be registered for reservations", name_, path->label), true);
      if (all.key && path->owner != nullptr && (path->usable || path->registering)) {
        path->registering = false;
        path->owner->on_command_bad(CheckerState::faulty, false);
      }
    }
  }
  for_path ? end_reservation() : next_other();
}

void MapDevice::end_reservation() {
  Reservations& all = *reservations_;
  const Reservations::Work done = std::exchange(all.current, {});
  all.busy = false;
  if (done.host != nullptr) done.host->done(*done.host);
  if (done.path != nullptr && done.host == nullptr && done.path->registering) {
    done.path->registering = false;
    const bool registered = done.path->port != nullptr && done.path->registered == done.path->port->generation();
    if (registered || !all.key) {
      change_usable(*done.path, true);
    } else if (done.path->owner != nullptr && done.path->port->up()) {
      done.path->owner->on_command_bad(CheckerState::faulty, false);
    }
  }
  next_reservation();
}

}  // namespace mpath
