// One block device as an NBD export, on the device's shard: its connections, what they share, and their end.
//
// Threads:   construct anywhere; everything else, destruction included, on the shard. Events are called there too.
// Ownership: device and shard are borrowed until drain() called back.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/block_device.hpp"
#include "base/shard.hpp"
#include "exports/nbd_connection.hpp"
#include "exports/nbd_handshake.hpp"

namespace mpath {

struct NbdExportLimits {
  NbdConnectionLimits connection;
  NbdBudgetLimits budget;
  std::chrono::milliseconds drain_limit{5000};  // a client that does not take its last answers is cut off after this
};

class NbdExport final : private BlockDeviceObserver {
 public:
  struct Events {
    std::function<void(const BlockLimits&)> limits_changed;
    std::function<void()> gone;  // the device goes away: its connections are being drained
    std::function<void(error_code why, const NbdCounters&)> connection_ended;
  };

  NbdExport(BlockDevice& device, Shard& shard, const NbdExportLimits& limits, Events events);
  ~NbdExport() override;
  NbdExport(const NbdExport&) = delete;
  NbdExport& operator=(const NbdExport&) = delete;

  // Begins to watch the device. Call first, once.
  BlockLimits open();
  // Serves a client that is past its handshake. `already`: what it sent behind it.
  void admit(UniqueFd socket, const NbdAgreement& agreement, std::span<const std::byte> already);
  // No new clients; see NbdConnection::drain(). `empty` is called from the loop when the last connection has ended and
  // the device is watched no more: it may be destroyed then, and so may the export, from another handler. Call once.
  void drain(std::function<void()> empty);
  // The same for clients that will go on with our successor; see NbdConnection::leave().
  void leave(std::function<void()> empty);

  [[nodiscard]] std::size_t connections() const { return connections_.size(); }
  // Of all connections there ever were.
  [[nodiscard]] NbdCounters counters() const;

 private:
  void on_limits_changed(const BlockLimits& limits) override;
  void on_gone() override;
  void end_connections(void (NbdConnection::*how)());
  void connection_ended(NbdConnection& connection, error_code why);
  void finish_if_empty();

  // Constant after construction.
  BlockDevice& device_;
  Shard& shard_;
  NbdExportLimits limits_;
  Events events_;

  NbdBudget budget_;
  bool watching_ = false;
  void (NbdConnection::*ending_)() = nullptr;  // how, once it has begun
  std::vector<std::unique_ptr<NbdConnection>> connections_;
  NbdCounters ended_counters_;
  std::function<void()> empty_;
  std::unique_ptr<Alarm> drain_alarm_;
};

}  // namespace mpath
