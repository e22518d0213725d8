// A store with a place for drills in front: what operators put in with `mptargetctl drill` meets every read and write,
// while size, journal and usage stay the store's.
//
// Threads: the shard of the store.
#pragma once

#include <memory>

#include "base/drill_device.hpp"
#include "target/store/store.hpp"

namespace mpath::target {

class DrilledStore final : public Store {
 public:
  // `clock` and the output of `log` are borrowed.
  DrilledStore(std::unique_ptr<Store> store, Clock& clock, const Log& log)
      : store_(std::move(store)), drill_(*store_, clock, log) {}

  [[nodiscard]] DrillDevice& drill() { return drill_; }

  [[nodiscard]] const std::string& name() const override { return store_->name(); }
  [[nodiscard]] const BlockLimits& limits() const override { return store_->limits(); }
  void submit(BlockRequest& request) noexcept override { drill_.submit(request); }
  void add_observer(BlockDeviceObserver& observer) override { store_->add_observer(observer); }
  void remove_observer(BlockDeviceObserver& observer) override { store_->remove_observer(observer); }
  void grow(std::uint64_t size_bytes, std::function<void(error_code)> done) override {
    store_->grow(size_bytes, std::move(done));
  }
  [[nodiscard]] Usage usage() const override { return store_->usage(); }
  [[nodiscard]] std::uint32_t atomic_bytes_max() const override { return store_->atomic_bytes_max(); }
  void submit_atomic(BlockRequest& request) noexcept override { store_->submit_atomic(request); }
  [[nodiscard]] std::uint64_t error_offset() const override { return store_->error_offset(); }
  [[nodiscard]] std::uint64_t system_calls() const override { return store_->system_calls(); }
  void close(std::function<void(error_code)> closed) override { store_->close(std::move(closed)); }
  [[nodiscard]] StoreEngine engine() const override { return store_->engine(); }

 private:
  std::unique_ptr<Store> store_;
  DrillDevice drill_;  // after what it stands before
};

}  // namespace mpath::target
