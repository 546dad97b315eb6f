// The part of the addon's surface that is about ranks.
#include "addon.h"
#include "tcp_peers.h"

namespace cd {
namespace {

// joinCommunicator(device, name, rank, size, timeoutSeconds, warnAfterSeconds, processOf) → number, for collectives
Napi::Value joinCommunicator(const Napi::CallbackInfo& info) {
  const std::string name = info[1].As<Napi::String>().Utf8Value();
  CommunicatorOptions options;
  options.timeoutSeconds = info[4].As<Napi::Number>().DoubleValue();
  options.warnAfterSeconds = info[5].As<Napi::Number>().DoubleValue();
  std::vector<int> processOf;
  const auto processes = info[6].As<Napi::Array>();
  for (uint32_t index = 0; index < processes.Length(); ++index)
    processOf.push_back(processes.Get(index).As<Napi::Number>().Int32Value());
  const int rank = static_cast<int>(integer(info, 2));
  auto peers = TcpPeers::connect(name, rank, processOf);
  const int number = device(info).device->addCommunicator(
      Communicator::join(name, rank, static_cast<int>(integer(info, 3)), options, std::move(peers)));
  return Napi::Number::New(info.Env(), number);
}

// listenForPeers() → port
Napi::Value listenForPeers(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), TcpEndpoint::instance().listen());
}

// introducePeers(token, own, addresses)
Napi::Value introducePeers(const Napi::CallbackInfo& info) {
  std::vector<std::string> addresses;
  const auto given = info[2].As<Napi::Array>();
  for (uint32_t index = 0; index < given.Length(); ++index) addresses.push_back(given.Get(index).As<Napi::String>().Utf8Value());
  TcpEndpoint::instance().introduce(info[0].As<Napi::String>().Utf8Value(), static_cast<int>(integer(info, 1)),
                                    std::move(addresses));
  return info.Env().Undefined();
}

// failCommunicators(why)
Napi::Value failCommunicators(const Napi::CallbackInfo& info) {
  TcpEndpoint::instance().failAll(info[0].As<Napi::String>().Utf8Value());
  return info.Env().Undefined();
}

// communicatorBytes(device, communicator) → bytes received from other ranks
Napi::Value communicatorBytes(const Napi::CallbackInfo& info) {
  const int64_t bytes = device(info).device->communicator(integer(info, 1)).bytesReceived();
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

// leaveCommunicator(device, communicator)
Napi::Value leaveCommunicator(const Napi::CallbackInfo& info) {
  device(info).device->communicator(integer(info, 1)).leave();
  return info.Env().Undefined();
}

}  // namespace

void exposeCommunicators(Napi::Object exports) {
  expose<joinCommunicator>(exports, "joinCommunicator");
  expose<listenForPeers>(exports, "listenForPeers");
  expose<introducePeers>(exports, "introducePeers");
  expose<failCommunicators>(exports, "failCommunicators");
  expose<communicatorBytes>(exports, "communicatorBytes");
  expose<leaveCommunicator>(exports, "leaveCommunicator");
  exports["othersCannotGoOn"] = kOthersCannotGoOn;
}

}  // namespace cd
